"""How far past its deadline a request is answered when nobody can answer it. Used by `bench.chaos`."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from bench.chaos.clients import Sent, Target, clients
from bench.service import Service

DEADLINE_S = 0.5
_CLIENTS = 4


def past_deadline(service: Service, photo: bytes, seconds: float = 4.0) -> list[Sent]:
    """Requests of half a second, with both arms frozen."""
    service.deploy(Router={"onnx_fraction": 0.5})
    target = Target(service.url, photo, headers=f"X-Request-Timeout-Ms: {DEADLINE_S * 1e3:.0f}\r\n")
    pids = service.pids()
    with _frozen([*pids["TorchDeployment"], *pids["OnnxDeployment"]]), clients(target, _CLIENTS) as sent:
        time.sleep(seconds)
    return sent


@contextlib.contextmanager
def _frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
