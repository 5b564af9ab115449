"""Writes the tables of docs/reliability.md between their marks. Used by `bench.chaos`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.chaos.faults import DEADLINE_S, LATE_S, Round
from bench.chaos.overload import TIMES_CAPACITY, Overload
from bench.chaos.worst import Worst
from bench.command import markdown
from bench.load.plan import Sent
from bench.statistics import quantile

_BEGIN, _END = "<!-- make chaos: begin -->", "<!-- make chaos: end -->"
_FAULTS = ["fault", "times", "requests", "failed", "rescued", "median", "longest", "recovery: median", "longest"]
_HANGS = ["hang", "requests", "refused", "failed", f"over {LATE_S:g} s", "rescued", "median", "longest", "recovery"]
_MB = 1e6


def render(
    facts: str, rounds: Sequence[Round], hangs: Sequence[Round], worst: Worst, load: Overload, late: Sequence[Sent]
) -> str:
    """The tables in Markdown, under a line that says where they were measured."""
    tables = [
        markdown(_FAULTS, map(_fault, rounds)),
        markdown(_HANGS, map(_hang, hangs)),
        markdown(["worst images", "measured"], _worst(worst).items(), words=2),
        markdown(["overload", "measured"], _overload(load).items(), words=2),
        markdown(["deadline", "measured"], _deadline(late).items(), words=2),
    ]
    return "\n\n".join([facts, *tables])


def _fault(one: Round) -> list[str]:
    counts = [len(one.struck), len(one.sent), len(one.failed), one.rescued]
    waits = [one.wait_s(0.5), one.wait_s(1), quantile(one.recoveries, 0.5), quantile(one.recoveries, 1)]
    return [one.name, *map(str, counts), *map(_seconds, waits)]


def _hang(one: Round) -> list[str]:
    counts = [len(one.sent), one.refused, len(one.failed) - one.refused, one.late, one.rescued]
    return [one.name, *map(str, counts), *map(_seconds, [one.wait_s(0.5), one.wait_s(1), *one.recoveries])]


def _worst(worst: Worst) -> dict[str, str]:
    statuses = Counter(sent.status for sent in worst.bad)
    return {
        "worst images sent": f"{len(worst.bad)}: {', '.join(f'{n} got {status}' for status, n in statuses.items())}",
        "good photos answered meanwhile": f"{len(worst.good) - len(worst.unanswered)} of {len(worst.good)}",
        "longest wait of a good photo": _seconds(max(sent.seconds for sent in worst.good)),
        "largest memory of one replica": f"{worst.largest_bytes / _MB:.0f} MB",
    }


def _overload(load: Overload) -> dict[str, str]:
    accepted = [sent.seconds for sent in load.accepted]
    refused = [sent.seconds for sent in load.refused]
    full, answered = quantile([sent.seconds for sent in load.at_capacity], 0.99), quantile(accepted, 0.99)
    growth = (load.bytes_at_most - load.bytes_before) / _MB
    return {
        "at capacity": f"{load.capacity:.1f} answers/s with {load.places} clients, p99 {_seconds(full)}",
        f"{TIMES_CAPACITY} times that": f"{len(load.in_storm)} sent, {len(accepted)} answered, {len(refused)} refused",
        "neither": str(len(load.neither)),
        "p99 of the answers": f"{_seconds(answered)}, {answered / full:.2f} of capacity",
        "refusals, median and p99": f"{_seconds(quantile(refused, 0.5))}, {_seconds(quantile(refused, 0.99))}",
        "memory of router and backends": f"{load.bytes_before / _MB:.0f} MB before, {growth:+.0f} MB in the storm",
        "back to normal after": _seconds(load.recovery_s),
    }


def _deadline(late: Sequence[Sent]) -> dict[str, str]:
    past = [sent.seconds - DEADLINE_S for sent in late]
    return {
        "requests with both backends frozen": str(len(late)),
        "answered with 504": str(sum(sent.status == 504 and sent.problem for sent in late)),
        "past the deadline, median and longest": f"{_seconds(quantile(past, 0.5))}, {_seconds(quantile(past, 1))}",
    }


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def put_into(document: Path, text: str) -> None:
    """Replace what stands between the marks; raises ValueError where they are missing."""
    before, begin, rest = document.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{document}: the marks {_BEGIN} and {_END} are missing")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
