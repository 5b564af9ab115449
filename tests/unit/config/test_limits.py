"""Limits that another limit undercuts are told before a deploy."""

from typing import Any

import pytest
from ray import serve
from ray.serve._private import constants
from ray.serve.config import AutoscalingConfig

from serve_app.config import limits as module
from tests.unit.config.shipped import Change, application, changed, limits, options, problems, right, user_config

VARIABLE = module.MESSAGE_VARIABLE


SHORT = {"max_queued_requests": 8}  # fewer than the router's places


def transport(**variables: str) -> Change:
    return application(runtime_env={"env_vars": {"RAY_SERVE_USE_GRPC_BY_DEFAULT": "1", **variables}})


def test_serves_defaults_are_those_of_the_installed_serve() -> None:
    plain: Any = serve.deployment(object)
    autoscaling: Any = AutoscalingConfig
    assert plain.max_ongoing_requests == module.ONGOING_REQUESTS
    assert plain.max_queued_requests == module.QUEUED_REQUESTS
    assert autoscaling.default().max_replicas == module.AUTOSCALED_REPLICAS
    assert constants.RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH == module.MESSAGE_BYTES


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([limits(max_body_bytes=20_990_001)], "21000000 bytes are too few for the longest body"),
        ([transport(**{VARIABLE: "20009999"})], "20009999 bytes are too few for the longest body"),
        ([transport()], "missing, so that Serve's 4194304 would hold"),
        ([application(runtime_env=None)], "missing, so that Serve's 4194304 would hold"),
        ([transport(**{VARIABLE: "21MB"})], "expected a number of bytes in quotes, got '21MB'"),
    ],
)
def test_the_transport_must_take_the_longest_body(changes: list[Change], told: str) -> None:
    (problem,) = problems(changed(*changes))
    assert problem.startswith(f"applications[detect].runtime_env.env_vars.{VARIABLE}: {told}; limits.max_body_bytes 20")


def test_a_replicas_own_transport_counts_for_it() -> None:
    own = {"num_cpus": 1, "runtime_env": {"env_vars": {VARIABLE: "1000"}}}
    (problem,) = problems(changed(options("OnnxDeployment", ray_actor_options=own)))
    path = f"applications[detect].deployments[OnnxDeployment].ray_actor_options.runtime_env.env_vars.{VARIABLE}"
    remedy = 'limits.max_body_bytes 20000000 needs at least "20010000"'
    assert problem == f"{path}: 1000 bytes are too few for the longest body; {remedy}"


@pytest.mark.parametrize(
    "changes",
    [
        [transport(**{VARIABLE: "20010000"})],
        [transport(**{VARIABLE: "-1"})],
        [transport(RAY_SERVE_USE_GRPC_BY_DEFAULT="0")],
        [application(runtime_env=None), limits(max_body_bytes=4_000_000)],
        [options("Router", max_ongoing_requests=96)],
        [options("TorchDeployment", max_ongoing_requests=8, **SHORT)],
        [options("TorchDeployment", max_ongoing_requests=1, max_queued_requests=16)],
        [options("TorchDeployment", max_ongoing_requests=1, max_queued_requests=-1)],
        [options("TorchDeployment", max_ongoing_requests=None, max_queued_requests=None)],
        [options("TorchDeployment", max_ongoing_requests=4, num_replicas=2, **SHORT)],
        [options("Router", num_replicas=2)],
        [
            options("Router", num_replicas="auto"),
            *(options(f"{a}Deployment", max_queued_requests=-1) for a in ("Torch", "Onnx")),
        ],
    ],
)
def test_limits_that_fit(changes: list[Change]) -> None:
    assert right(changed(*changes))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (options("Router", max_ongoing_requests=95), "95 is under the 96 places"),
        (options("Router", max_ongoing_requests=None), "Serve's default of 5 is under the 96 places"),
        (user_config("Router", max_uploads=225), "256 is under the 257 places"),
    ],
)
def test_the_router_needs_a_place_in_serve_for_each_of_its_own(change: Change, shown: str) -> None:
    (problem,) = problems(changed(change))
    assert problem.startswith(f"applications[detect].deployments[Router].max_ongoing_requests: {shown} of the router (")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (
            {"max_ongoing_requests": 7, **SHORT},
            "7 (num_replicas 1) and max_queued_requests 8 are under the 16 requests",
        ),
        (
            {"max_ongoing_requests": None, "max_queued_requests": 1},
            "Serve's default of 5 (num_replicas 1) and max_queued_requests 1 are under the 16 requests",
        ),
        (
            {"max_ongoing_requests": 1, "num_replicas": "auto", **SHORT},
            "1 (num_replicas 1) and max_queued_requests 8 are under the 16 requests",
        ),
    ],
)
def test_a_backend_takes_what_the_routers_may_send(values: dict[str, Any], shown: str) -> None:
    (problem,) = problems(changed(options("OnnxDeployment", **values)))
    assert problem.startswith(
        f"applications[detect].deployments[OnnxDeployment].max_ongoing_requests: {shown} that the"
    )


@pytest.mark.parametrize(
    "routers", [{"num_replicas": 4}, {"num_replicas": None, "autoscaling_config": {"max_replicas": 4}}]
)
def test_every_router_counts(routers: dict[str, Any]) -> None:
    short = (options(f"{name}Deployment", **SHORT) for name in ("Torch", "Onnx"))
    found = problems(changed(options("Router", **routers), *short))
    assert [problem.split(": ")[0].rpartition(".")[0][-17:] for problem in found] == [
        "[TorchDeployment]",
        "s[OnnxDeployment]",
    ]
    assert all("under the 64 requests" in problem and "num_replicas 4)" in problem for problem in found)


def test_what_is_wrong_in_itself_is_told_once() -> None:
    text = changed(
        limits(max_body_bytes=True),
        options("Router", num_replicas=-1),
        options("OnnxDeployment", max_ongoing_requests="a"),
    )
    assert len(problems(text)) == 3
    assert len(problems(changed(user_config("Router", max_inflight="12")))) == 1
