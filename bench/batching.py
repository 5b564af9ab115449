"""`python -m bench.batching`: what an image costs alone, beside another one and in a batch, for every engine.

It tells whether `inferences_at_once` or `max_batch` of a backend pays on this machine.
"""

from typing import Annotated, NamedTuple

import typer
from rich.progress import Progress

from bench import command
from bench.engines import subjects
from bench.engines.measure import noise, run_rounds, workers
from bench.engines.subjects import available
from bench.engines.worker import Answer, Task
from bench.statistics import median, ratio


class _Way(NamedTuple):
    """One way to run images: in batches of some size, some at once, some times in a row."""

    name: str
    batch: int
    at_once: int = 1
    repeats: int = 1

    def per_image(self, answers: list[Answer]) -> list[float]:
        """Seconds for each image, of each round."""
        return [answer.seconds / (self.batch * self.at_once * self.repeats) for answer in answers]


_ALONE = _Way("alone", 1)
_BESIDE = _Way("two at once", 1, at_once=2, repeats=4)  # several in a row, so that both are not always in one layer


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
        contenders, subject = available(typer.echo), subjects.small() if small else subjects.demo()
        ways = [_ALONE, _BESIDE, *(_Way(f"batch of {size}", size) for size in batch or (2, 4, 8))]
        facts, size = command.machine(threads), subject.sizes[-1]
        tasks = {way: Task(noise(size, way.batch), way.at_once, way.repeats) for way in ways}
        # The service refuses two inferences at once for OpenVINO.
        fewer = {way: task for way, task in tasks.items() if way.at_once == 1}
        wanted = {one: fewer if one.engine == "openvino" else tasks for one in contenders}
        with workers(subject, contenders, threads) as running, Progress() as progress:
            bar = progress.add_task("batches", total=rounds * sum(map(len, wanted.values())))
            answers = run_rounds(running, wanted, rounds, lambda: progress.advance(bar))
    typer.echo(command.line_of(facts))
    typer.echo(f"{subject.name}, milliseconds per image of {size[0]}x{size[1]}, and times as fast as alone")
    rows = [[one.name, *(_cell(found, way) for way in ways)] for one, found in answers.items()]
    typer.echo(command.markdown(["engine", *(way.name for way in ways)], rows))


def _cell(answers: dict[_Way, list[Answer]], way: _Way) -> str:
    if way not in answers:
        return "-"
    alone, seconds = _ALONE.per_image(answers[_ALONE]), way.per_image(answers[way])
    return f"{median(seconds) * 1e3:.1f} ({ratio(alone, seconds).value:.2f})"


if __name__ == "__main__":
    typer.run(main)
