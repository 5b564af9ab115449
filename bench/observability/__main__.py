"""`python -m bench.observability`: what series, scrapes and request lines cost, with and without them in one run.

Three nodes stand side by side. One has everything on: the shipped Prometheus scrapes it both ways, and each request is
logged. One is what a user of Ray has anyway: Ray's own collection at its own intervals, nothing of ours, no scrape. On
the last Ray collects nothing either. Rounds of the same traffic go to one after the other, so that whatever else the
machine does falls on all alike; those that are not asked are stopped, as Ray at rest needs a fifth of a core. Processor
time is that of the node's own processes, from their counters.
"""

import asyncio
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import httpx
import numpy as np
import typer
from PIL import Image

from bench.processes import PARTS, Part, Processes, cpu_between, used
from bench.service import ROOT, Service, artifact_of_the_checkout
from serve_app.errors import ConfigurationError
from serve_app.local import monitor
from serve_app.local.modes import Mode
from serve_app.local.node import running
from serve_app.local.ports import Ports, free_port

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_PHOTO_SIDES = (320, 240)  # so that two cores have time for the default rate
Side = Literal["on", "Ray alone", "nothing"]
# What the nodes are started with; `make serve` has shorter intervals than Ray's own.
_NODES: Mapping[Side, Mapping[str, str]] = {
    "on": {},
    "Ray alone": {"RAY_metrics_report_interval_ms": "10000", "REPORTER_UPDATE_INTERVAL_MS": "5000"},
    "nothing": {"RAY_enable_metrics_collection": "0"},
}
_RESAMPLES = 2000
_THAW_S = 2.0  # what waited for a stopped node, a scrape for one, shall be over when its round begins
# A stall of some tenths of a second on a full machine shall show in the latency, not end the run.
_POLICY = {"onnx_fraction": 1.0, "max_inflight": 200, "fallback": False}
_QUEUE = {"options": {"max_ongoing_requests": 200, "max_queued_requests": 200}}


class Unobserved(Service):
    """The shipped service without its series."""

    import_path = "bench.observability.unobserved:app"


class Round(NamedTuple):
    """One round on one node: its median latency, and the cores that each part of it kept busy."""

    p50_s: float
    parts: dict[Part, float]

    @property
    def cores(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def _image() -> bytes:
    with Image.open(_PHOTO) as photo, io.BytesIO() as buffer:
        photo.resize(_PHOTO_SIDES).save(buffer, "JPEG")
        return buffer.getvalue()


def _ports() -> Ports:
    return Ports(http=free_port(), dashboard=free_port(), metrics=free_port())


async def _ask(client: httpx.AsyncClient, image: bytes, at: float) -> float:
    await asyncio.sleep(max(at - time.perf_counter(), 0))
    began = time.perf_counter()
    response = await client.post("/detect", content=image, headers={"Content-Type": "image/jpeg"})
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        raise ConfigurationError("this machine cannot take that many requests now; ask for a lower --rate")
    response.raise_for_status()
    return time.perf_counter() - began


async def _drive(url: str, image: bytes, rate: float, seconds: float) -> list[float]:
    """Send at a fixed rate, whether or not earlier answers have come."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        start = time.perf_counter()
        return await asyncio.gather(
            *(_ask(client, image, start + number / rate) for number in range(int(rate * seconds)))
        )


@contextmanager
def _alone(service: Service, others: Iterable[Service]) -> Iterator[None]:
    """Only this one runs; the others are stopped where they are."""
    stopped = [Processes(other.node.pid) for other in others if other is not service]
    try:
        for other in stopped:
            other.freeze()
        time.sleep(_THAW_S)
        yield
    finally:
        for other in stopped:
            other.thaw()


def _round(service: Service, rate: float, seconds: float) -> Round:
    before, began = used(service.node), time.perf_counter()
    latencies = asyncio.run(_drive(service.url, _image(), rate, seconds))
    elapsed, after = time.perf_counter() - began, used(service.node)
    spent = cpu_between(before, after)
    return Round(statistics.median(latencies), {part: cpu / elapsed for part, cpu in spent.items()})


def _interval(differences: list[float]) -> tuple[float, float, float]:
    """Median of paired differences with its 95 % interval from resampling."""
    drawn = np.random.default_rng(1).choice(differences, (_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(differences)), float(low), float(high)


def _report(measured: Mapping[Side, list[Round]], rate: float, load: float) -> None:
    cores = os.cpu_count() or 1
    rounds = len(measured["on"])
    typer.echo(f"{rate:g} requests/s, {rounds} rounds each, {cores} cores, load {load:.1f} before the start\n")
    others = [side for side in _NODES if side != "on"]
    typer.echo(f"| | {' | '.join(_NODES)} | {' | '.join(f'on - {side} (95 %)' for side in others)} |")
    typer.echo(f"|---|{'--:|' * (len(_NODES) + len(others))}")
    share = 100 / cores
    _row("p50, ms", {side: [one.p50_s * 1e3 for one in measured[side]] for side in _NODES})
    _row("processor time, % of the machine", {side: [one.cores * share for one in measured[side]] for side in _NODES})
    for part in PARTS:
        _row(f"of it {part}", {side: [one.parts[part] * share for one in measured[side]] for side in _NODES})


def _row(name: str, values: Mapping[Side, list[float]]) -> None:
    cells = [f"{statistics.median(values[side]):.2f}" for side in _NODES]
    for side in _NODES:
        if side != "on":
            middle, low, high = _interval([a - b for a, b in zip(values["on"], values[side], strict=True)])
            cells.append(f"{middle:+.2f} ({low:+.2f} to {high:+.2f})")
    typer.echo(f"| {name} | {' | '.join(cells)} |")


def _measure(rate: float, rounds: int, seconds: float, mode: Mode) -> dict[Side, list[Round]]:
    artifact_of_the_checkout()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = {side: _started(side, folder / side, mode, stack) for side in _NODES}
        for service in services.values():
            _round(service, rate, seconds)  # warms up connections and caches
        measured: dict[Side, list[Round]] = {side: [] for side in _NODES}
        for number in range(rounds):
            for side in list(_NODES)[:: 1 if number % 2 else -1]:
                with _alone(services[side], services.values()):
                    measured[side].append(_round(services[side], rate, seconds))
    return measured


def _started(side: Side, folder: Path, mode: Mode, stack: ExitStack) -> Service:
    node = stack.enter_context(running(folder, _ports(), mode, _NODES[side]))
    service = Service(node) if side == "on" else Unobserved(node)
    service.deploy(Router={**_POLICY, "log_requests": side == "on"}, OnnxDeployment=_QUEUE)
    if side == "on":
        monitor.write_config(node, folder / "prometheus")
        stack.enter_context(monitor.prometheus(folder / "prometheus", free_port()))
    return service


def main(
    rate: Annotated[float, typer.Option(help="Requests per second.")] = 50,
    rounds: Annotated[int, typer.Option(help="Rounds on each node.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a round.")] = 10,
    mode: Annotated[Mode, typer.Option(help="Front door; two cores bear the default rate only in the fast mode.")] = (
        Mode.fast
    ),
) -> None:
    """Start the nodes, run the rounds in turns, print the table."""
    load = os.getloadavg()[0]
    try:
        measured = _measure(rate, rounds, seconds, mode)
    except ConfigurationError as error:
        typer.secho(error.detail, fg="red", err=True)
        raise typer.Exit(1) from None
    _report(measured, rate, load)


if __name__ == "__main__":
    typer.run(main)
