"""`python -m bench.engines`: every engine and precision this machine runs, side by side."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress

from bench import command
from bench.engines import report, subjects
from bench.engines.flops import measured_peak
from bench.engines.measure import measure
from bench.engines.subjects import Subject, available

_QUICK_ROUNDS = 3


Model = Literal["demo", "small", "both"]


def main(
    model: Annotated[Model, typer.Option(help="The shipped checkpoint, a random YOLOS-small, or both.")] = "both",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every engine.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help=f"{_QUICK_ROUNDS} rounds each, for a first look.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for engines.json, .md and .png.")] = subjects.WORK / "engines",
) -> None:
    """Measure every engine and precision available; write a table, JSON and a plot."""
    with command.one_line_errors():
        command.require_matplotlib()
        contenders = available(typer.echo)
        facts, peak = command.machine(threads), measured_peak(threads)
        rows: list[report.Row] = []
        makers: dict[Model, Callable[[], Subject]] = {"demo": subjects.demo, "small": subjects.small}
        for subject in [make() for name, make in makers.items() if model in (name, "both")]:
            rounds = _QUICK_ROUNDS if quick else subject.rounds
            with Progress() as progress:
                task = progress.add_task(subject.name, total=len(contenders) * len(subject.sizes) * rounds)
                advance = partial(progress.advance, task)
                rows += measure(subject, contenders, rounds, threads, advance)
            peak = max(peak, measured_peak(threads))  # the better of both, as other work may have slowed one
        facts["fp32 peak"] = f"{peak / 1e9:.0f} GFLOP/s"
        report.save(out, facts, peak, rows)
    typer.echo("\n".join([command.line_of(facts), report.table(rows, peak), f"written to {out}"]))


if __name__ == "__main__":
    typer.run(main)
