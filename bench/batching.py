"""`python -m bench.batching`: what an image costs alone and in a batch of its own shape, for every engine.

The measurement behind `max_batch` of the arms: batching pays only where this table says so.
"""

import statistics
import sys
from contextlib import ExitStack
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import machine, subjects
from bench.contenders import Contender, available
from bench.measure import Plan, worker_order
from bench.process import Process
from serve_app.detection.contract import Pixels
from serve_app.errors import ConfigurationError

_SIZES = (1, 2, 4, 8)
_PICTURE = (224, 288)
_WARM_UPS = 2

Seconds = dict[Contender, dict[int, list[float]]]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each runs every engine with every batch.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every engine.")] = 2,
) -> None:
    """Measure the shipped checkpoint with batches of 1 to 8 images and print the time per image."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    contenders, missing = available()
    for line in missing:
        console.print(f"left out: {line}")
    plan = Plan(subjects.demo(), contenders, rounds, threads, spinning=False)
    try:
        with Progress(console=console) as progress:
            seconds = _measure(plan, progress)
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(2) from None
    facts = machine.describe(threads, spinning=False)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    console.print(_table(seconds))


def _measure(plan: Plan, progress: Progress) -> Seconds:
    for precision in plan.precisions:
        subjects.export(plan.subject, precision)
    batches = {size: _noise(size) for size in _SIZES}
    seconds: Seconds = {contender: {size: [] for size in _SIZES} for contender in plan.contenders}
    task = progress.add_task("batches", total=plan.rounds * len(plan.contenders) * len(_SIZES))
    with ExitStack() as running:
        workers = {
            contender: running.enter_context(Process(worker_order(plan, contender))) for contender in plan.contenders
        }
        for number in range(-_WARM_UPS, plan.rounds):
            for contender, worker in workers.items():
                for size, pixels in batches.items():
                    taken = worker.answer(pixels).seconds
                    if number >= 0:
                        seconds[contender][size].append(taken)
                        progress.advance(task)
    return seconds


def _noise(size: int) -> Pixels:
    return np.random.default_rng(0).standard_normal((size, 3, *_PICTURE), dtype=np.float32)


def _table(seconds: Seconds) -> Table:
    table = Table(title=f"milliseconds per image of {_PICTURE[0]}x{_PICTURE[1]}, and times as fast as alone")
    table.add_column("engine")
    for size in _SIZES:
        table.add_column(f"batch of {size}", justify="right")
    for contender, found in seconds.items():
        alone = statistics.median(found[1])
        each = {size: statistics.median(taken) / size for size, taken in found.items()}
        table.add_row(contender.name, *(f"{value * 1e3:.1f} ({alone / value:.2f})" for value in each.values()))
    return table


if __name__ == "__main__":
    typer.run(main)
