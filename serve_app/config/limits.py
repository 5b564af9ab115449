"""Whether the limits of an application fit into each other: a limit that another one undercuts is never reached.

Called by `serve_app.config.application`. A value that is wrong in itself is left to the checks there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from serve_app.config.serve_schema import entries
from serve_app.explain import Problem
from serve_app.settings import AppSettings, TrafficPolicy

# Serve's own defaults. A test compares them with the Serve that is installed.
ONGOING_REQUESTS = 5
QUEUED_REQUESTS = -1  # no limit
AUTOSCALED_REPLICAS = 100
MESSAGE_BYTES = 4 * 1024 * 1024

MESSAGE_VARIABLE = "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"
_TRANSPORT_VARIABLE = "RAY_SERVE_USE_GRPC_BY_DEFAULT"
_ENVELOPE_BYTES = 10_000  # what travels with an image: options, and Serve's description of the call
_BACKENDS = ("TorchDeployment", "OnnxDeployment")

S = TypeVar("S", bound=BaseModel)


def problems(application: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """One problem for each limit of ours that Serve's would cut short."""
    deployments = {value.get("name"): (f"{where}.{at}", value) for at, value in entries(application, "deployments")}
    backends = [deployments[name] for name in _BACKENDS if name in deployments]
    if settings := _valid(AppSettings, application.get("args", {})):
        yield from _messages(application, where, backends, settings.limits.max_body_bytes)
    if "Router" not in deployments:
        return
    at, router = deployments["Router"]
    if policy := _valid(TrafficPolicy, router.get("user_config")):
        yield from _router_places(router, at, policy)
        for at, backend in backends:
            yield from _backend_places(backend, at, policy, _replicas(router, most=True))


def _messages(
    application: Mapping[str, Any], where: str, backends: list[tuple[str, dict[str, Any]]], body: int
) -> Iterator[Problem]:
    """The transport between the replicas must take the longest body."""
    shared = _variables(application)
    places = [(where, shared)]
    for at, backend in backends:
        if own := _variables(backend.get("ray_actor_options")):
            places.append((f"{at}.ray_actor_options", {**shared, **own}))
    for at, variables in places:
        given = variables.get(MESSAGE_VARIABLE)
        path = f"{at}.runtime_env.env_vars.{MESSAGE_VARIABLE}"
        needed = body + _ENVELOPE_BYTES
        remedy = f'limits.max_body_bytes {body} needs at least "{needed}"'
        if variables.get(_TRANSPORT_VARIABLE) == "0":  # Ray's object store, which has no such limit
            continue
        if given is None:
            if needed > MESSAGE_BYTES:
                yield Problem(path, f"missing, so that Serve's {MESSAGE_BYTES} would hold; {remedy}")
        elif not isinstance(given, str) or given == "-1":  # not text: told elsewhere; -1: gRPC's "no limit"
            continue
        elif not given.isdecimal():
            yield Problem(path, f"expected a number of bytes in quotes, got {given!r}; {remedy}")
        elif int(given) < needed:
            yield Problem(path, f"{given} bytes are too few for the longest body; {remedy}")


def _router_places(router: Mapping[str, Any], where: str, policy: TrafficPolicy) -> Iterator[Problem]:
    places = len(_BACKENDS) * policy.max_inflight + policy.max_uploads
    ongoing = _whole(router, "max_ongoing_requests", ONGOING_REQUESTS)
    if ongoing is not None and ongoing < places:
        yield Problem(
            f"{where}.max_ongoing_requests",
            f"{_given(router, 'max_ongoing_requests', ongoing)} is under the {places} places of the router "
            f"(max_inflight {policy.max_inflight} for each backend, max_uploads {policy.max_uploads}): clients would "
            f"wait in Serve instead of getting its 503; raise it to {places} or more, or lower them",
        )


def _backend_places(
    backend: Mapping[str, Any], where: str, policy: TrafficPolicy, routers: int | None
) -> Iterator[Problem]:
    ongoing = _whole(backend, "max_ongoing_requests", ONGOING_REQUESTS)
    queued = _whole(backend, "max_queued_requests", QUEUED_REQUESTS)
    replicas = _replicas(backend, most=False)
    if ongoing is None or queued is None or routers is None or replicas is None:
        return
    # The queue is each router's own, the replicas are shared by all.
    if queued == -1 or queued >= policy.max_inflight or replicas * ongoing + queued >= routers * policy.max_inflight:
        return
    yield Problem(
        f"{where}.max_ongoing_requests",
        f"{_given(backend, 'max_ongoing_requests', ongoing)} (num_replicas {replicas}) and max_queued_requests "
        f"{queued} are under the {routers * policy.max_inflight} requests that the routers may send (max_inflight "
        f"{policy.max_inflight}, num_replicas {routers}): Serve would refuse some; raise one, or lower max_inflight",
    )


def _given(options: Mapping[str, Any], key: str, value: int) -> str:
    return str(value) if key in options else f"Serve's default of {value}"


def _replicas(options: Mapping[str, Any], most: bool) -> int | None:
    """How many replicas a deployment may have, at most or at least; None if that is wrong in itself."""
    number, scaling = options.get("num_replicas"), options.get("autoscaling_config")
    if number != "auto" and not isinstance(scaling, Mapping):
        replicas = 1 if number is None else _whole(options, "num_replicas", 1)
    elif most:
        replicas = _whole(scaling or {}, "max_replicas", AUTOSCALED_REPLICAS if number == "auto" else 1)
    else:
        replicas = _whole(scaling or {}, "min_replicas", 1)
    return replicas if replicas is not None and replicas > 0 else None


def _whole(options: Mapping[str, Any], key: str, default: int) -> int | None:
    value = options.get(key, default)
    return value if type(value) is int else None


def _variables(values: Any) -> Mapping[str, Any]:
    environment = values.get("runtime_env") if isinstance(values, Mapping) else None
    variables = environment.get("env_vars") if isinstance(environment, Mapping) else None
    return variables if isinstance(variables, Mapping) else {}


def _valid(model: type[S], values: Any) -> S | None:
    try:
        return model.model_validate(values)
    except ValidationError:
        return None
