"""`python -m bench.observability`: what series, scrapes and request lines cost, on and off in turns in one run.

Two nodes stand side by side. One has everything on: the shipped Prometheus scrapes it both ways, and each request is
logged. On the other Ray collects nothing. Rounds of the same traffic go to one and the other in turn, so that whatever
else the machine does falls on both alike; the one that is not asked is stopped, as Ray at rest needs a fifth of a core.
Processor time is that of the node's own processes, from their counters.
"""

import asyncio
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import numpy as np
import typer
from PIL import Image

from bench.scaling import processes
from bench.scaling.processes import PARTS, Part
from bench.service import ROOT, Service, artifact_of_the_checkout
from bench.serving.processes import Processes
from serve_app.errors import ConfigurationError
from serve_app.local import monitor
from serve_app.local.modes import Mode
from serve_app.local.node import Ports, free_port, running

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_SIDES = (320, 240)  # so that two cores have time for the default rate
_OFF = {"RAY_enable_metrics_collection": "0"}
_RESAMPLES = 2000
_THAW_S = 2.0  # what waited for a stopped node, a scrape for one, shall be over when its round begins
# A stall of some tenths of a second on a full machine shall show in the latency, not end the run.
_POLICY = {"onnx_fraction": 1.0, "max_inflight": 200, "fallback": False}
_QUEUE = {"options": {"max_ongoing_requests": 200, "max_queued_requests": 200}}


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
        photo.resize(_SIDES).save(buffer, "JPEG")
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
    before, began = processes.used(service.node), time.perf_counter()
    latencies = asyncio.run(_drive(service.url, _image(), rate, seconds))
    elapsed, after = time.perf_counter() - began, processes.used(service.node)
    spent = processes.cpu_between(before, after)
    return Round(statistics.median(latencies), {part: cpu / elapsed for part, cpu in spent.items()})


def _interval(differences: list[float]) -> tuple[float, float, float]:
    """Median of paired differences with its 95 % interval from resampling."""
    drawn = np.random.default_rng(1).choice(differences, (_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(differences)), float(low), float(high)


def _report(on: list[Round], off: list[Round], rate: float, load: float) -> None:
    cores = os.cpu_count() or 1
    typer.echo(f"{rate:g} requests/s, {len(on)} rounds each, {cores} cores, load {load:.1f} before the start\n")
    typer.echo("| | on | off | difference (95 % interval) |\n|---|--:|--:|--:|")
    _row("p50, ms", [one.p50_s * 1e3 for one in on], [one.p50_s * 1e3 for one in off])
    share = 100 / cores
    _row("processor time, % of the machine", [one.cores * share for one in on], [one.cores * share for one in off])
    for part in PARTS:
        _row(f"of it {part}", [one.parts[part] * share for one in on], [one.parts[part] * share for one in off])


def _row(name: str, on: list[float], off: list[float]) -> None:
    middle, low, high = _interval([a - b for a, b in zip(on, off, strict=True)])
    medians = f"{statistics.median(on):.2f} | {statistics.median(off):.2f}"
    typer.echo(f"| {name} | {medians} | {middle:+.2f} ({low:+.2f} to {high:+.2f}) |")


def _measure(rate: float, rounds: int, seconds: float, mode: Mode) -> tuple[list[Round], list[Round]]:
    artifact_of_the_checkout()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        on = Service(stack.enter_context(running(folder / "on", _ports(), mode)))
        off = Service(stack.enter_context(running(folder / "off", _ports(), mode, _OFF)))
        on.deploy(Router={**_POLICY, "log_requests": True}, OnnxDeployment=_QUEUE)
        off.deploy(Router=_POLICY, OnnxDeployment=_QUEUE)
        monitor.write_config(on.node, folder / "prometheus")
        stack.enter_context(monitor.prometheus(folder / "prometheus", free_port()))
        for service in (on, off):
            _round(service, rate, seconds)  # warms up connections and caches
        measured: dict[Service, list[Round]] = {on: [], off: []}
        for number in range(rounds):
            for service in (on, off) if number % 2 else (off, on):
                with _alone(service, measured):
                    measured[service].append(_round(service, rate, seconds))
    return measured[on], measured[off]


def main(
    rate: Annotated[float, typer.Option(help="Requests per second.")] = 50,
    rounds: Annotated[int, typer.Option(help="Rounds on each node.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of a round.")] = 10,
    mode: Annotated[Mode, typer.Option(help="Front door; two cores bear the default rate only in the fast mode.")] = (
        Mode.fast
    ),
) -> None:
    """Start both nodes, run the rounds in turns, print the table."""
    load = os.getloadavg()[0]
    try:
        on, off = _measure(rate, rounds, seconds, mode)
    except ConfigurationError as error:
        typer.secho(error.detail, fg="red", err=True)
        raise typer.Exit(1) from None
    _report(on, off, rate, load)


if __name__ == "__main__":
    typer.run(main)
