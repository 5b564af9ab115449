"""Every use of Ray's private parts. Each one survives a Ray that has changed. Used by `backends` and `traffic`."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

logger = logging.getLogger("ray.serve")

# Serve's log filter looks up a dozen ids for every line, and Ray copies the line to the driver. These attributes of a
# log record switch both off. Another Ray ignores them.
THIN_LOG_RECORD = {"skip_context_filter": True, "log_to_stderr": False}


def known_replicas(handle: Any) -> frozenset[Any] | None:
    """The ids of the replicas that this process can send the handle's calls to, or None where Ray does not tell.

    Serve keeps a call waiting while it knows no replica, and this table is the only place that shows it (Ray 2.60).
    None before the handle is connected, and with a Ray that keeps its table elsewhere or in another form.
    """
    try:
        router = handle._router
        replicas = None if router is None else router._asyncio_router.request_router
        if replicas is None:  # not connected yet
            return None
        table = replicas.curr_replicas
        if not isinstance(table, Mapping):
            raise TypeError(f"curr_replicas is {type(table).__name__}")
        return frozenset(table)
    except Exception as error:
        _warn_once(f"{type(error).__name__}: {error}")
        return None


@cache
def _warn_once(why: str) -> None:
    logger.warning("Ray's table of replicas cannot be read (%s): a lost backend is noticed by its silence only", why)
