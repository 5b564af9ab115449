"""Every use of Ray's private and unstable parts. Each one survives a Ray that has changed.

Used by `backends`, `traffic` and `app`.
"""

import inspect
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

logger = logging.getLogger("ray.serve")

# Serve's log filter looks up a dozen ids for every line, and Ray copies the line to the driver. These attributes of a
# log record switch both off. Another Ray ignores them.
THIN_LOG_RECORD = {"skip_context_filter": True, "log_to_stderr": False}

_ROUTING: dict[str, Any] = {
    "request_router_class": "serve_app.backends.request_router:ReadyReplicas",
    "request_routing_stats_period_s": 1.0,
    "request_routing_stats_timeout_s": 5.0,
}


def routing_options() -> dict[str, Any]:
    """Options of a deployment that keep its calls from replicas that cannot answer (`backends.request_router`).

    Ray calls this interface alpha. With a Ray that has another one there are no options, and Serve picks as it does.
    """
    try:
        from ray.serve.config import RequestRouterConfig

        config = RequestRouterConfig(**_ROUTING)
        if inspect.isabstract(config.get_request_router_class()):
            raise TypeError("a request router has to do more than choose_replicas")
    except Exception as error:
        logger.warning("replicas that are not loaded also get calls: %s: %s", type(error).__name__, error)
        return {}
    return {"request_router_config": config}


def known_replicas(handle: Any) -> frozenset[Any] | None:
    """The ids of the replicas that this process can send the handle's calls to, or None where Ray does not tell.

    Serve keeps a call waiting while it knows no replica, and this table is the only place that shows it (Ray 2.60).
    None before the handle is connected, and with a Ray that keeps its table elsewhere or in another form.
    """
    table = _replicas(handle)
    return None if table is None else frozenset(table)


def routing_stats(handle: Any) -> dict[str, Mapping[str, Any]]:
    """What each of these replicas last told Serve in `record_routing_stats`, by Ray's id of the replica.

    Without those that have told nothing yet; empty where Ray does not tell.
    """
    try:
        told = {
            replica_id.unique_id: replica.routing_stats for replica_id, replica in (_replicas(handle) or {}).items()
        }
        return {unique_id: stats for unique_id, stats in told.items() if stats and isinstance(stats, Mapping)}
    except Exception as error:
        _warn_once(f"{type(error).__name__}: {error}")
        return {}


def _replicas(handle: Any) -> Mapping[Any, Any] | None:
    try:
        router = handle._router
        replicas = None if router is None else router._asyncio_router.request_router
        if replicas is None:  # not connected yet
            return None
        table = replicas.curr_replicas
        if not isinstance(table, Mapping):
            raise TypeError(f"curr_replicas is {type(table).__name__}")
        return dict(table)
    except Exception as error:
        _warn_once(f"{type(error).__name__}: {error}")
        return None


@cache
def _warn_once(why: str) -> None:
    logger.warning("Ray's table of replicas cannot be read (%s): a lost backend is noticed by its silence only", why)
