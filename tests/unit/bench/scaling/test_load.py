"""A window of load read from what the clients sent, and whose processor time is whose."""

from pathlib import Path

import pytest

from bench.scaling import load, processes
from bench.scaling.bed import Bed, Layout
from bench.scaling.load import Source
from bench.scaling.processes import Part, Used
from bench.serving.loads import Load, Order, Outcome, Sent, Span
from serve_app.local.node import Node
from serve_app.local.ports import Ports


@pytest.mark.parametrize(
    ("name", "title", "part"),
    [
        ("ray::ServeReplica:detect:Router", "ray::ServeReplica:detect:Router", "router"),
        ("ray::ServeReplica:detect:Torch", "ray::ServeReplica:detect:TorchDeployment", "arm"),
        ("ray::ProxyActor", "ray::ProxyActor", "proxy"),
        ("haproxy", "/somewhere/haproxy", "haproxy"),
        ("ray::ServeController", "ray::ServeController", "controller"),
        ("gcs_server", "/somewhere/gcs_server", "rest of Ray"),
    ],
)
def test_the_part_of_a_process(name: str, title: str, part: Part) -> None:
    assert processes.part_of(name, title) == part


def test_only_who_lived_all_the_time_counts() -> None:
    before = {1: Used("router", 1.0, 10), 2: Used("arm", 5.0, 10), 3: Used("router", 1.0, 30)}
    after = {1: Used("router", 1.5, 10), 3: Used("router", 1.25, 30), 4: Used("arm", 9.0, 10)}
    cpu = processes.cpu_between(before, after)
    assert (cpu["router"], cpu["arm"]) == (0.75, 0.0)
    assert processes.files_of(after, "router") == 20
    assert processes.files_of(after, "proxy") == 0


LOAD, SPAN = Load.closed(4), Span(0.0, 3.0)
SENT = [
    *(Sent(ended - 0.1, ended, 200) for ended in (0.5, 1.5, 1.6, 2.5)),
    Sent(2.2, 2.6, 503),
    Sent(2.95, 3.05, 200),
]


def test_what_was_sent_becomes_rates_and_shares() -> None:
    seen = load.read(Layout(), LOAD, SPAN, Outcome(SENT, 0.6), processes.cpu_between({}, {}) | {"router": 1.2})
    assert seen.rate == pytest.approx(4 / 3)
    assert seen.failed == {503: 1}
    assert [seen.slowest_third, seen.fastest_third] == [1.0, 2.0]
    assert [seen.p50_s, seen.p99_s] == pytest.approx([0.1, 0.388])


def test_the_cpu_of_answers_after_the_end_is_left_out() -> None:
    seen = load.read(Layout(), LOAD, SPAN, Outcome(SENT, 0.6), processes.cpu_between({}, {}) | {"router": 1.2})
    assert seen.cpu["router"] == pytest.approx(1.0)
    assert seen.each("router") == pytest.approx(0.25)
    assert seen.busy("router") == pytest.approx(1 / 3)
    assert seen.generator_share == pytest.approx(0.5 / 3)


def test_without_any_answer_there_is_nothing_to_divide_by() -> None:
    seen = load.read(Layout(), LOAD, SPAN, Outcome([], 0.0), processes.cpu_between({}, {}))
    assert (seen.rate, seen.each("router"), seen.p99_s) == (0.0, 0.0, 0.0)


def test_it_warms_up_before_it_counts(tmp_path: Path) -> None:
    orders: list[Order] = []

    def send(order: Order) -> Outcome:
        orders.append(order)
        return Outcome(SENT, 0.6)

    # No process has this number, so the node has none.
    bed = Bed(Node(folder=tmp_path, ports=Ports(http=9), pid=1 << 30, leader_born=0))
    seen = Source(send, b"image").window(bed, Layout(), clients=4, warm_up_s=1.0, seconds=3.0)
    assert [(order.port, order.body, order.span.end) for order in orders] == [(9, b"image", 1.0), (9, b"image", 3.0)]
    assert (seen.clients, seen.answered) == (4, 4)
