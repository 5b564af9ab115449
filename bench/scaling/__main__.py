"""`python -m bench.scaling`: throughput against replicas, the Router's own ceiling, and what more nodes would need."""

import signal
import sys
import tempfile
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from bench import machine, subjects
from bench.plotting import require_matplotlib
from bench.scaling import measure, report, sheets
from bench.scaling.bed import Bed
from bench.scaling.control import record
from bench.scaling.load import Source
from bench.scaling.measure import QUICK, SERVICE_S, Plan, Results
from bench.scaling.model import Node
from bench.serving.generator import generator
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.node import running
from serve_app.local.ports import Ports, free_port

_WIDTH = 180
_INTERRUPTED = 130


class Modes(StrEnum):
    """Which modes to measure."""

    simple = "simple"
    fast = "fast"
    both = "both"


def main(
    mode: Annotated[Modes, typer.Option(help="Ray's own proxy, HAProxy, or one after the other.")] = Modes.both,
    node_cores: Annotated[int, typer.Option(min=2, help="Cores of a node in the computed tables.")] = 16,
    service_ms: Annotated[float, typer.Option(min=1, help="Milliseconds of an inference there.")] = SERVICE_S * 1e3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of an inference there.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows and few replicas, for a first look.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for scaling.json, .md and .png.")] = subjects.WORK / "scaling",
) -> None:
    """Measure with arms that only wait or do nothing, so that the Router is what limits; write tables and a plot."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    signal.signal(signal.SIGTERM, _interrupt)  # or what was started would go on
    try:
        _run(
            [Mode.simple, Mode.fast] if mode is Modes.both else [Mode(mode)],
            Node(node_cores, service_ms / 1e3, threads),
            QUICK if quick else Plan(),
            out,
            console,
        )
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise typer.Exit(_INTERRUPTED) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(modes: list[Mode], node: Node, plan: Plan, out: Path, console: Console) -> None:
    require_matplotlib()
    facts = _facts()
    with generator() as send, Progress(console=console) as progress:
        source = Source(send, measure.body())
        task = progress.add_task("", total=(plan.steps + 1) * len(modes))
        results = [_measure(mode, plan, source, progress, task) for mode in modes]
    replica = record()
    all_sheets = sheets.measured(results) + [sheets.computed(one, replica, node) for one in results]
    report.write(out, facts, results, replica, all_sheets)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for sheet in all_sheets:
        console.print(report.table(sheet))
    console.print(f"written to {out}")


def _facts() -> dict[str, str]:
    """What matters here of the machine: there is no engine."""
    facts = machine.describe(threads=1, spinning=False)
    return {key: facts[key] for key in ("cpu", "cores", "load before", "python")} | {"ray": version("ray")}


def _measure(mode: Mode, plan: Plan, source: Source, progress: Progress, task: TaskID) -> Results:
    def advance(what: str) -> None:
        progress.update(task, description=f"{mode}: {what}", advance=1)

    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    progress.update(task, description=f"{mode}: starting Ray")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), ports, mode) as node:
        results = measure.measure(Bed(node), plan, source, advance)
        advance("ending Ray")
        return results


if __name__ == "__main__":
    typer.run(main)
