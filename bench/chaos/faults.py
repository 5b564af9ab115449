"""Faults under load: replicas killed and frozen, routers killed. Used by `bench.chaos` and the integration tests."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from bench.load.generator import clients
from bench.load.plan import Sent, Target
from bench.service import Service
from bench.statistics import quantile
from serve_app.local import deploy

CLIENTS = 8
DEADLINE_S = 0.5
_DEADLINE_CLIENTS = 4
_BACKENDS = {"OnnxDeployment": "onnx", "TorchDeployment": "torch"}
_RECOVERY_TIMEOUT_S = 600.0
_QUIET_S = 1.0  # between a recovery and the next fault, so that both backends are in use again
_EVEN = {"onnx_fraction": 0.5}


class Round(NamedTuple):
    """What clients saw of one kind of fault.

    `struck` are the times of the faults by `time.monotonic`, `recoveries` the seconds until all was as before.
    """

    name: str
    struck: list[float]
    sent: list[Sent]
    recoveries: list[float]

    @property
    def failed(self) -> list[Sent]:
        """Requests that got no 200."""
        return [sent for sent in self.sent if sent.status != 200]

    @property
    def rescued(self) -> int:
        """Requests that the other backend answered."""
        return sum(sent.assigned != sent.backend for sent in self.sent)

    @property
    def longest_s(self) -> float:
        """The longest wait of any client."""
        return max((sent.seconds for sent in self.sent), default=0.0)

    @property
    def usual_s(self) -> float:
        """The median wait."""
        return quantile([sent.seconds for sent in self.sent], 0.5)


def kill_replicas(service: Service, target: Target, name: str, victims: Sequence[str]) -> Round:
    """SIGKILL the only replica of each deployment in turn, each one after the last has recovered."""
    service.deploy(Router=_EVEN)
    struck, recoveries = [], []
    with clients(target, CLIENTS) as sent:
        time.sleep(_QUIET_S)
        for victim in victims:
            (pid,) = service.pids()[victim]
            struck.append(time.monotonic())
            recoveries.append(_kill(service, victim, pid))
            time.sleep(_QUIET_S)
    return Round(name, struck, sent, recoveries)


def _kill(service: Service, victim: str, pid: int) -> float:
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        state = deploy.readiness(service.node)  # None while a full machine is slow to answer
        backend = state["backends"][_BACKENDS[victim]] if state else {}
        return backend.get("state") == "ready" and backend["pid"] != pid

    _wait(back)
    return time.monotonic() - began


def freeze_replicas(service: Service, target: Target, victims: Iterable[str], seconds: float) -> Round:
    """SIGSTOP each replica for a while: a hang, which only `arm_timeout_s` can tell from slowness."""
    service.deploy(Router=_EVEN | {"arm_timeout_s": 2.0})
    struck, recoveries = [], []
    with clients(target, CLIENTS) as sent:
        time.sleep(_QUIET_S)
        for victim in victims:
            (pid,) = service.pids()[victim]
            struck.append(time.monotonic())
            with _frozen([pid]):
                time.sleep(seconds)
            recoveries.append(_back_in_use(sent, _BACKENDS[victim]))
    return Round("SIGSTOP of a replica", struck, sent, recoveries)


def _back_in_use(sent: list[Sent], backend: str) -> float:
    began = time.monotonic()
    _wait(lambda: any(one.backend == backend for one in sent if one.due > began))
    return time.monotonic() - began


def kill_routers(service: Service, target: Target, times: int) -> Round:
    """SIGKILL one of two router replicas: the requests in flight in it fail, as nothing else knows of them."""
    service.deploy(Router=_EVEN | {"options": {"num_replicas": 2}})
    _wait(lambda: len(service.pids()["Router"]) == 2)
    struck, recoveries = [], []
    with clients(target, CLIENTS) as sent:
        for _ in range(times):
            time.sleep(_QUIET_S)
            before = service.pids()["Router"]
            struck.append(time.monotonic())
            os.kill(before[0], signal.SIGKILL)
            _wait(lambda: len(pids := service.pids()["Router"]) == 2 and before[0] not in pids)  # noqa: B023
            recoveries.append(time.monotonic() - struck[-1])
    return Round("SIGKILL of one of two routers", struck, sent, recoveries)


def past_deadline(service: Service, target: Target, seconds: float = 4.0) -> list[Sent]:
    """Requests with a deadline of `DEADLINE_S`, while both backends are frozen and none can answer."""
    service.deploy(Router=_EVEN)
    target = target._replace(headers={**target.headers, "X-Request-Timeout-Ms": f"{DEADLINE_S * 1e3:.0f}"})
    pids = service.pids()
    victims = [pid for deployment in _BACKENDS for pid in pids[deployment]]
    with _frozen(victims), clients(target, _DEADLINE_CLIENTS) as sent:
        time.sleep(seconds)
    return sent


@contextmanager
def _frozen(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _RECOVERY_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no recovery within {_RECOVERY_TIMEOUT_S:g} s")
        time.sleep(0.1)
