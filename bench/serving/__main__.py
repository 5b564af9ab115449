"""`python -m bench.serving`: our app beside a bare server, LitServe, BentoML and MLServer, on one artifact."""

import signal
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench import machine
from bench.engines.subjects import WORK
from bench.plotting import require_matplotlib
from bench.service import ROOT, artifact_of_the_checkout
from bench.serving import contenders, environments, measure, report
from bench.serving.contenders import PEERS, Contender, Name, Setup
from bench.serving.generator import generator
from bench.serving.measure import Bench, Plan, Row
from serve_app.errors import ConfigurationError

_PHOTO = ROOT / "demo/photos/scene-3.jpg"
_ENDING = (signal.SIGINT, signal.SIGTERM)


def main(
    only: Annotated[list[Name] | None, typer.Option(help="Contenders to run beside bare; repeat it.")] = None,
    clients: Annotated[list[int] | None, typer.Option(min=1, help="Clients of a closed loop; repeat it.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="ONNX Runtime's threads, in each worker of each server.")] = 2,
    photo: Annotated[Path, typer.Option(help="The body of every request.")] = _PHOTO,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows and few loads, for a first look.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for serving.json, .md and .png.")] = WORK / "serving",
) -> None:
    """Measure every server under closed and open loops; write a table, JSON, Markdown and a plot."""
    for number in _ENDING:
        signal.signal(number, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 150)
    plan = measure.QUICK if quick else measure.FULL
    try:
        body = _read(photo)
        names = [name for name in Name if not only or name in only or name is Name.bare]
        run(names, Setup(threads, body, WORK / "peers"), plan._replace(clients=clients or plan.clients), out, console)
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; every server was ended\n")
        raise typer.Exit(2) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)  # an impatient second one would leave servers behind
    raise KeyboardInterrupt


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{photo}: {error.strerror}") from None


def run(names: list[Name], setup: Setup, plan: Plan, out: Path, console: Console) -> list[Row]:
    """Start, measure, end and report. Raises ConfigurationError when there is nothing to compare with."""
    require_matplotlib()
    artifact_of_the_checkout()
    facts = {**machine.describe(setup.threads, spinning=False), "photo": f"{len(setup.photo) / 1e3:.0f} kB"}
    with ExitStack() as stack:
        send = stack.enter_context(generator())
        started = _start(names, setup, stack, console)
        bench = Bench(started, send, setup.photo)
        facts |= {"ray": version("ray")} | {name: environments.version_of(name) for name in bench.idle if name in PEERS}
        facts["left out"] = " ".join(name for name in names if name not in bench.idle) or "none"
        facts["idle"] = " ".join(f"{name} {share:.1%}" for name, share in bench.idle.items())
        facts["stopped between turns"] = " ".join(bench.frozen_between_turns) or "none"
        with _progress(console) as progress:
            task = progress.add_task("measuring", total=plan.loads * plan.rounds * len(started))
            rows = bench.run(plan, lambda windows: progress.advance(task, windows))
    sending = sorted(row.figures.generator_cpu_per_request * 1e3 for row in rows)
    facts["load generator"] = f"{sending[0]:.2f}-{sending[-1]:.2f} CPU ms/req"
    report.write(out, facts, rows)
    console.print(report.line_of(facts))
    console.print(report.table(rows))
    console.print(report.NOTE)
    console.print(f"written to {out}")
    return rows


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _start(names: list[Name], setup: Setup, stack: ExitStack, console: Console) -> list[Contender]:
    """All that come up and give bare's answer, bare first; the others are named with the reason."""
    bare = stack.enter_context(contenders.running(Name.bare, setup))
    if not bare.reply.detections:
        raise ConfigurationError("the photo shows nothing that the checkpoint detects; choose another --photo")
    started = [bare]
    for name in names:
        if name is Name.bare:
            continue
        with console.status(f"starting {name}"), ExitStack() as one:
            try:
                contender = one.enter_context(contenders.running(name, setup))
            except ConfigurationError as error:
                console.print(f"left out: {name} ({error.detail})", markup=False)
                continue
            if reason := contenders.difference(bare.reply, contender.reply):
                console.print(f"left out: {name} ({reason})", markup=False)
                continue
            console.print(f"{name} is up and answers as bare does", markup=False)
            started.append(contender)
            stack.enter_context(one.pop_all())
    return started


if __name__ == "__main__":
    typer.run(main)
