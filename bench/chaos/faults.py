"""Faults under load: replicas and routers killed, backends that hang. Used by `bench.chaos` and integration tests."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import NamedTuple

from bench.load.generator import clients
from bench.load.plan import OK, Sent, Target
from bench.service import Service
from bench.statistics import quantile
from serve_app.local import deploy

CLIENTS = 8
LATE_S = 1.0
DEADLINE_S = 0.5
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
        return [sent for sent in self.sent if sent.status != OK]

    @property
    def refused(self) -> int:
        """How many of those were told when to come back."""
        return sum(sent.retry_after for sent in self.failed)

    @property
    def late(self) -> int:
        """Requests that took more than `LATE_S` seconds."""
        return sum(sent.seconds > LATE_S for sent in self.sent)

    @property
    def rescued(self) -> int:
        """Requests that the other backend answered."""
        return sum(sent.assigned != sent.backend for sent in self.sent)

    def wait_s(self, share: float) -> float:
        """That quantile of the clients' waits."""
        return quantile([sent.seconds for sent in self.sent], share)


# Strikes, waits until all is as before, and returns when it struck and the seconds of the recovery.
Fault = Callable[[list[Sent]], tuple[float, float]]
Hang = AbstractContextManager[None]


def _under_load(name: str, target: Target, faults: Iterable[Fault], rate: float = 0.0) -> Round:
    struck, recoveries = [], []
    with clients(target, CLIENTS, rate) as sent:
        for fault in faults:
            time.sleep(_QUIET_S)
            at, recovery_s = fault(sent)
            struck.append(at)
            recoveries.append(recovery_s)
        time.sleep(_QUIET_S)
    return Round(name, struck, sent, recoveries)


def kill_replicas(service: Service, target: Target, name: str, victims: Sequence[str]) -> Round:
    """SIGKILL the only replica of each deployment in turn, each one after the last has recovered."""
    service.deploy(Router=_EVEN)

    def kill(victim: str, _: list[Sent]) -> tuple[float, float]:
        (pid,) = service.pids()[victim]
        return _kill(pid, lambda: _is_replaced(service, _BACKENDS[victim], pid))

    return _under_load(name, target, [partial(kill, victim) for victim in victims])


def _kill(pid: int, recovered: Callable[[], bool]) -> tuple[float, float]:
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    _wait(recovered)
    return began, time.monotonic() - began


def _is_replaced(service: Service, backend: str, pid: int) -> bool:
    state = deploy.readiness(service.node)  # None while a full machine is slow to answer
    found = state["backends"][backend] if state else {}
    return found.get("state") == "ready" and found["pid"] != pid


def hang(
    service: Service,
    target: Target,
    rate: float,
    victim: str,
    share: float,
    seconds: float,
    how: Callable[[str], Hang] | None = None,
) -> Round:
    """Let a backend with that share of the traffic hang for a while, under the shipped policy.

    `rate` requests per second come, whatever comes back; one backend must be able to answer them all.
    By default its replica is stopped with SIGSTOP. Its recovery is counted from the end of the hang.
    """
    backend = _BACKENDS[victim]
    service.deploy(Router={"onnx_fraction": share if backend == "onnx" else 1 - share})

    def strike(sent: list[Sent]) -> tuple[float, float]:
        _wait(lambda: any(one.backend == backend for one in sent))
        began = time.monotonic()
        with how(backend) if how else _frozen(service.pids()[victim]):
            time.sleep(seconds)
        thawed = time.monotonic()
        _wait(lambda: any(one.backend == backend for one in sent if one.due > thawed))
        return began, time.monotonic() - thawed

    name = f"{'engine' if how else 'SIGSTOP'} of {backend}, {share:.0%} of the traffic"
    return _under_load(name, target, [strike], rate)


def kill_routers(service: Service, target: Target, times: int) -> Round:
    """SIGKILL one of two router replicas: the requests in flight in it fail, as nothing else knows of them."""
    service.deploy(Router=_EVEN | {"options": {"num_replicas": 2}})
    _wait(lambda: len(service.pids()["Router"]) == 2)

    def kill(_: list[Sent]) -> tuple[float, float]:
        victim = service.pids()["Router"][0]
        return _kill(victim, lambda: len(pids := service.pids()["Router"]) == 2 and victim not in pids)

    return _under_load("SIGKILL of one of two routers", target, [kill] * times)


def past_deadline(service: Service, target: Target, seconds: float = 4.0) -> list[Sent]:
    """Requests with a deadline of `DEADLINE_S`, while both backends are frozen and none can answer."""
    service.deploy(Router=_EVEN)
    target = target._replace(headers={**target.headers, "X-Request-Timeout-Ms": f"{DEADLINE_S * 1e3:.0f}"})
    pids = service.pids()
    victims = [pid for deployment in _BACKENDS for pid in pids[deployment]]
    with _frozen(victims), clients(target, CLIENTS // 2) as sent:
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
