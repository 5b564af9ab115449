"""`python -m bench.observability`: what series, scrapes and request lines cost, with and without them in one run.

Three nodes are measured in turns. On one everything is on: the shipped Prometheus scrapes it both ways, and each
request is logged. One has what every user of Ray has: Ray's own collection at its own intervals, no series of the
service, no scrape. On the last Ray collects nothing either. The nodes whose turn it is not are stopped, as Ray at rest
needs a fifth of a core. Processor time is that of the node's own processes.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import Image

from bench import command
from bench.load.generator import Send, generator
from bench.load.plan import OK, Load, Order, Span, Target
from bench.processes import PARTS, Processes, cpu_between, used
from bench.service import ROOT, Service, artifact_of_the_checkout, own_node
from bench.statistics import difference, median
from serve_app.errors import ConfigurationError
from serve_app.local import monitor
from serve_app.local.modes import Mode
from serve_app.local.ports import free_port

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_PHOTO_SIDES = (320, 240)  # so that two cores have time for the default rate
Side = Literal["on", "Ray alone", "nothing"]
# What the nodes are started with; `make serve` has shorter intervals than Ray's own.
_NODES: Mapping[Side, Mapping[str, str]] = {
    "on": {},
    "Ray alone": {"RAY_metrics_report_interval_ms": "10000", "REPORTER_UPDATE_INTERVAL_MS": "5000"},
    "nothing": {"RAY_enable_metrics_collection": "0"},
}
_OTHERS: tuple[Side, ...] = ("Ray alone", "nothing")
_THAW_S = 2.0  # so that what was due while a node was stopped is over when its round begins
# A stall of some tenths of a second on a full machine should show in the latency, not end the run.
_POLICY = {"onnx_fraction": 1.0, "max_inflight": 200, "fallback": False}
_QUEUE = {"options": {"max_ongoing_requests": 200, "max_queued_requests": 200}}


Round = Mapping[str, float]  # the median latency in ms, and the cores that each part of the node kept busy
_P50 = "p50, ms"


def main(
    rate: Annotated[float, typer.Option(min=1, help="Requests per second.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds on each node.")] = 10,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a round, in seconds.")] = 10,
) -> None:
    """Start the nodes, run the rounds in turns, print the table."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    with command.one_line_errors(), generator() as send:
        measured = _measure(Load.open("fixed", rate), Span(0.0, seconds), rounds, send)
    typer.echo(f"{rate:g} requests/s, {rounds} rounds each, {cores} cores, load {load:.1f} before the start\n")
    typer.echo(table(measured, cores))


def _measure(load: Load, span: Span, rounds: int, send: Send) -> dict[Side, list[Round]]:
    artifact_of_the_checkout()
    measured: dict[Side, list[Round]] = {side: [] for side in _NODES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = {side: _started(side, folder / side, stack) for side in _NODES}
        for service in services.values():
            _round(service, load, span, send)  # warms up connections and caches
        for number in range(rounds):
            for side in list(_NODES)[:: 1 if number % 2 else -1]:
                with _stopped(service for other, service in services.items() if other != side):
                    measured[side].append(_round(services[side], load, span, send))
    return measured


def _started(side: Side, folder: Path, stack: ExitStack) -> Service:
    # On two cores, only the fast mode keeps up with the default rate.
    node = stack.enter_context(own_node(folder, Mode.fast, _NODES[side]))
    service = Service(node)
    service.import_path = service.import_path if side == "on" else "bench.observability.unobserved:app"
    service.deploy(Router={**_POLICY, "log_requests": side == "on"}, OnnxDeployment=_QUEUE)
    if side == "on":
        monitor.write_config(node, folder / "prometheus")
        stack.enter_context(monitor.prometheus(folder / "prometheus", free_port()))
    return service


@contextmanager
def _stopped(services: Iterable[Service]) -> Iterator[None]:
    """These stand still for the length of a `with` block."""
    with ExitStack() as thawing:
        for processes in [Processes(service.node.pid) for service in services]:
            thawing.callback(processes.thaw)
            processes.freeze()
        time.sleep(_THAW_S)
        yield


def _round(service: Service, load: Load, span: Span, send: Send) -> Round:
    before, began = used(service.node), time.monotonic()
    outcome = send(Order(Target(service.url, _image(), keep_alive=True), load, span))
    elapsed, spent = time.monotonic() - began, cpu_between(before, used(service.node))
    failed = sorted({one.status for one in outcome.sent} - {OK})
    if failed:
        raise ConfigurationError(f"some requests got status {failed}: the machine is too busy; choose a lower --rate")
    return {_P50: median([one.seconds for one in outcome.sent]) * 1e3} | {part: spent[part] / elapsed for part in PARTS}


def _image() -> bytes:
    with Image.open(_PHOTO) as photo:
        photo.resize(_PHOTO_SIDES).save(buffer := BytesIO(), "JPEG")
    return buffer.getvalue()


def table(measured: Mapping[Side, list[Round]], cores: int) -> str:
    """Medians of each node and the differences from the first, in Markdown."""

    def row(name: str, parts: Sequence[str], factor: float) -> list[str]:
        values = {side: [factor * sum(one[part] for part in parts) for one in measured[side]] for side in _NODES}
        differences = [difference(values["on"], values[side]) for side in _OTHERS]
        cells = [f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})" for one in differences]
        return [name, *(f"{median(values[side]):.2f}" for side in _NODES), *cells]

    rows = [row(_P50, [_P50], 1), row("processor time, % of the machine", PARTS, 100 / cores)]
    rows += [row(f"of it {part}", [part], 100 / cores) for part in PARTS]
    return command.markdown(["", *_NODES, *(f"on - {side} (95 %)" for side in _OTHERS)], rows)


if __name__ == "__main__":
    typer.run(main)
