"""`python -m bench.engines`: every engine and precision this machine runs, side by side."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from bench import command, machine
from bench.engines import report, subjects
from bench.engines.contenders import available
from bench.engines.flops import measured_peak
from bench.engines.measure import Plan, measure
from bench.engines.subjects import Subject

_QUICK_ROUNDS = 3


class Model(StrEnum):
    """Which models to measure on."""

    demo = "demo"
    small = "small"
    both = "both"


def main(
    model: Annotated[Model, typer.Option(help="The shipped checkpoint, a random YOLOS-small, or both.")] = Model.both,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every engine.")] = 2,
    spinning: Annotated[bool, typer.Option(help="Let idle threads wait in a busy loop, in every engine.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help=f"{_QUICK_ROUNDS} rounds each, for a first look.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for engines.json, .md and .png.")] = subjects.WORK / "engines",
) -> None:
    """Measure every engine and precision available; write a table, JSON and a plot."""
    with command.one_line_errors():
        _run(model, threads, spinning, quick, out)


def _run(model: Model, threads: int, spinning: bool, quick: bool, out: Path) -> None:
    command.require_matplotlib()
    contenders, missing = available()
    for line in missing:
        typer.echo(f"left out: {line}")
    facts, peak = machine.describe(threads, spinning), measured_peak(threads)
    rows: list[report.Row] = []
    for subject in _subjects(model):
        plan = Plan(subject, contenders, _QUICK_ROUNDS if quick else subject.rounds, threads, spinning)
        with Progress() as progress:
            task = progress.add_task(subject.name, total=plan.steps)
            rows += measure(plan, lambda: progress.advance(task))  # noqa: B023 - called within this turn only
        peak = max(peak, measured_peak(threads))  # the better of both, as other work may have slowed one
    facts["fp32 peak"] = f"{peak / 1e9:.0f} GFLOP/s"
    typer.echo(command.line_of(facts))
    report.write(out, facts, peak, rows)
    typer.echo(report.table(rows, peak))
    typer.echo(f"written to {out}")


def _subjects(model: Model) -> list[Subject]:
    made = {Model.demo: [subjects.demo], Model.small: [subjects.small], Model.both: [subjects.demo, subjects.small]}
    return [make() for make in made[model]]


if __name__ == "__main__":
    typer.run(main)
