"""`python -m bench.batching`: what an image costs alone, beside another one and in a batch, for every engine.

It tells whether `inferences_at_once` or `max_batch` of a backend pays on this machine.
"""

import statistics
from contextlib import ExitStack
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.progress import Progress

from bench import command, machine
from bench.engines import subjects
from bench.engines.contenders import Contender, available
from bench.engines.measure import Plan, Size
from bench.engines.worker import Task
from bench.statistics import ratio, turned

_WARM_UPS = 2


class _Way(NamedTuple):
    """One way to run images: batches of some size, alone or beside others, some times in a row."""

    name: str
    batch: int
    at_once: int = 1
    repeats: int = 1

    def task(self, size: Size) -> Task:
        """For a worker, without content in the pixels: the time depends on their shape alone."""
        pixels = np.random.default_rng(0).standard_normal((self.batch, 3, *size), dtype=np.float32)
        return Task(pixels, self.at_once, self.repeats)

    @property
    def images(self) -> int:
        """Of one task."""
        return self.batch * self.at_once * self.repeats


_ALONE = _Way("alone", 1)
# Several in a row, so that the two are not always in the same layer.
_BESIDE = _Way("two at once", 1, at_once=2, repeats=4)

Seconds = dict[Contender, dict[_Way, list[float]]]  # per image


def main(
    small: Annotated[bool, typer.Option("--small", help="A random YOLOS-small, not the shipped checkpoint.")] = False,
    batch: Annotated[
        list[int] | None, typer.Option(min=2, help="A batch size; may be repeated. Default: 2, 4 and 8.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each runs every engine in every way.")] = 20,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every engine.")] = 2,
) -> None:
    """Measure images alone, two at once and in batches; print the time per image."""
    with command.one_line_errors():
        contenders, missing = available()
        for line in missing:
            typer.echo(f"left out: {line}")
        plan = Plan(subjects.small() if small else subjects.demo(), contenders, rounds, threads, spinning=False)
        ways = [_ALONE, _BESIDE, *(_Way(f"batch of {size}", size) for size in batch or (2, 4, 8))]
        size = plan.subject.sizes[-1]
        with Progress() as progress:
            seconds = _measure(plan, ways, size, progress)
        typer.echo(command.line_of(machine.describe(threads, spinning=False)))
        typer.echo(f"{plan.subject.name}, milliseconds per image of {size[0]}x{size[1]}, and times as fast as alone")
        rows = [[one.name, *(_cell(found, way) for way in ways)] for one, found in seconds.items()]
        typer.echo(command.markdown(["engine", *(way.name for way in ways)], rows))


def _measure(plan: Plan, ways: list[_Way], size: Size, progress: Progress) -> Seconds:
    for precision in plan.precisions:
        subjects.export(plan.subject, precision)
    tasks = {way: way.task(size) for way in ways}
    with ExitStack() as running:
        workers = plan.start(running)
        seconds: Seconds = {
            contender: {way: [] for way in ways if way.at_once == 1 or contender.engine != "openvino"}
            for contender in workers
        }
        bar = progress.add_task("batches", total=plan.rounds * sum(map(len, seconds.values())))
        for number in range(-_WARM_UPS, plan.rounds):
            for contender, found in seconds.items():
                for way in turned(list(found), number):
                    taken = workers[contender].answer(tasks[way]).seconds
                    if number >= 0:
                        found[way].append(taken / way.images)
                        progress.advance(bar)
    return seconds


def _cell(found: dict[_Way, list[float]], way: _Way) -> str:
    if way not in found:
        return "-"
    times = ratio(found[_ALONE], found[way]).value
    return f"{statistics.median(found[way]) * 1e3:.1f} ({times:.2f})"


if __name__ == "__main__":
    typer.run(main)
