"""Writes the tables of docs/reliability.md between their marks. Used by `bench.chaos`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.chaos.faults import DEADLINE_S, Round
from bench.chaos.overload import TIMES_CAPACITY, Overload
from bench.command import markdown
from bench.load.plan import Sent
from bench.statistics import quantile

_BEGIN, _END = "<!-- make chaos: begin -->", "<!-- make chaos: end -->"
_MB = 1e6


def render(facts: str, rounds: Sequence[Round], load: Overload, late: Sequence[Sent]) -> str:
    """The tables in Markdown, under a line that says where they were measured."""
    return "\n\n".join([facts, _faults(rounds), _overload(load), _deadline(late)])


def _faults(rounds: Iterable[Round]) -> str:
    head = ["fault", "times", "requests", "failed", "rescued", "median", "longest", "recovery: median", "longest"]
    rows = [
        [
            one.name,
            str(len(one.struck)),
            str(len(one.sent)),
            str(len(one.failed)),
            str(one.rescued),
            _seconds(one.usual_s),
            _seconds(one.longest_s),
            _seconds(quantile(one.recoveries, 0.5)),
            _seconds(max(one.recoveries, default=0.0)),
        ]
        for one in rounds
    ]
    return markdown(head, rows)


def _overload(load: Overload) -> str:
    accepted = [sent.seconds for sent in load.accepted]
    refused = [sent.seconds for sent in load.refused]
    full = quantile([sent.seconds for sent in load.at_capacity], 0.99)
    growth = (load.bytes_at_most - load.bytes_before) / _MB
    rows = [
        ["at capacity", f"{load.capacity:.1f} answers/s with {load.places} clients, p99 {_seconds(full)}"],
        [
            f"{TIMES_CAPACITY} times that",
            f"{len(load.in_storm)} sent, {len(accepted)} answered, {len(refused)} refused",
        ],
        ["neither", str(len(load.neither))],
        [
            "p99 of the answers",
            f"{_seconds(quantile(accepted, 0.99))}, {quantile(accepted, 0.99) / full:.2f} of capacity",
        ],
        ["refusals, median and p99", f"{_seconds(quantile(refused, 0.5))}, {_seconds(quantile(refused, 0.99))}"],
        ["memory of router and backends", f"{load.bytes_before / _MB:.0f} MB before, {growth:+.0f} MB in the storm"],
        ["back to normal after", _seconds(load.recovery_s)],
    ]
    return markdown(["overload", "measured"], rows, words=2)


def _deadline(late: Sequence[Sent]) -> str:
    """How far past the deadline the answers came."""
    past = [sent.seconds - DEADLINE_S for sent in late]
    rows = [
        ["requests with both backends frozen", str(len(late))],
        ["answered with 504", str(sum(sent.status == 504 and sent.problem for sent in late))],
        ["past the deadline, median and longest", f"{_seconds(quantile(past, 0.5))}, {_seconds(max(past, default=0))}"],
    ]
    return markdown(["deadline", "measured"], rows, words=2)


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def put_into(document: Path, text: str) -> None:
    """Replace what stands between the marks; raises ValueError where they are missing."""
    before, begin, rest = document.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{document}: the marks {_BEGIN} and {_END} are missing")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
