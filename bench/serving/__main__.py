"""`python -m bench.serving`: this service beside a bare server, LitServe, BentoML and MLServer, on one artifact."""

import signal
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.progress import Progress

from bench import command
from bench.engines.subjects import WORK
from bench.load.generator import generator
from bench.service import artifact_of_the_checkout
from bench.serving import measure, report
from bench.serving.contenders import PEERS, PHOTO, THREADS, Contender, Name, require_same, running, version_of
from bench.serving.measure import Bench, Plan, Row
from serve_app.errors import ConfigurationError

_ENDING = (signal.SIGINT, signal.SIGTERM)


class _Interrupted(BaseException):
    """SIGINT or SIGTERM arrived.

    Not KeyboardInterrupt: if one passes through `exec` of a text, as a dataclass runs while its module is imported,
    CPython 3.11 remembers it for good and ends the process by SIGINT, whatever its exit status.
    """


def main(
    only: Annotated[list[Name] | None, typer.Option(help="A contender beside bare; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows and few loads, for a first look.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for serving.json, .md and .png.")] = WORK / "serving",
) -> None:
    """Measure every server under closed and open loops; write a table, JSON, Markdown and a plot."""
    for number in _ENDING:
        signal.signal(number, _interrupt)
    names = [name for name in Name if not only or name in only or name is Name.bare]
    with command.one_line_errors():
        try:
            run(names, measure.QUICK if quick else measure.FULL, out)
        except _Interrupted:
            raise ConfigurationError("interrupted; every server was ended") from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)  # a second one would interrupt the clean-up and leave servers behind
    raise _Interrupted


def run(names: list[Name], plan: Plan, out: Path) -> list[Row]:
    """Start, measure, end and report. Raises ConfigurationError when there is nothing to compare with."""
    command.require_matplotlib()
    artifact_of_the_checkout()
    facts = {**command.machine(THREADS), "photo": f"{len(PHOTO.read_bytes()) / 1e3:.0f} kB"}
    with ExitStack() as stack:
        send = stack.enter_context(generator())
        started = _start(names, stack)
        bench = Bench(started, send, PHOTO.read_bytes())
        facts |= {"ray": version("ray")} | {name: version_of(name) for name in bench.idle if name in PEERS}
        facts["left out"] = " ".join(name for name in names if name not in bench.idle) or "none"
        facts["idle"] = " ".join(f"{name} {share:.1%}" for name, share in bench.idle.items())
        facts["stopped between turns"] = " ".join(bench.frozen_between_turns) or "none"
        with Progress() as progress:
            task = progress.add_task("measuring", total=plan.loads * plan.rounds * len(started))
            rows = bench.run(plan, lambda windows: progress.advance(task, windows))
    sending = [row.figures.generator_cpu_per_request * 1e3 for row in rows]
    facts["load generator"] = f"{min(sending):.2f}-{max(sending):.2f} CPU ms/req"
    report.save(out, facts, rows)
    typer.echo("\n".join([command.line_of(facts), report.table(rows), report.NOTE, f"written to {out}"]))
    return rows


def _start(names: list[Name], stack: ExitStack) -> list[Contender]:
    """All that start and give bare's answer, bare first. The others are named with the reason."""
    started = [stack.enter_context(running(Name.bare))]
    for name in (name for name in names if name is not Name.bare):
        sys.stderr.write(f"starting {name}\n")
        with ExitStack() as one:
            try:
                contender = one.enter_context(running(name))
                require_same(started[0].reply, contender.reply)
            except ConfigurationError as error:
                typer.echo(f"left out: {name} ({error.detail})")
                continue
            started.append(contender)
            stack.enter_context(one.pop_all())
    return started


if __name__ == "__main__":
    typer.run(main)
