"""Rounds: whose turn it is, when they end, and who stands still meanwhile. Contenders and generator are stand-ins."""

from typing import Any, cast

from bench.load.plan import OK, Order, Outcome, Sent, Span
from bench.serving.contenders import Contender, Name, Reply
from bench.serving.measure import Bench, Plan
from serve_app.schemas import ImageSize

PLAN = Plan([1], [0.5], warm_up=Span(0.0, 0.1), span=Span(0.0, 1.0), rounds=5)
NAMES = [Name.bare, Name.ours_fast, Name.litserve]


class FakeProcesses:
    def __init__(self, idle_cpu: float = 0.0) -> None:
        self.frozen = False
        self._idle_cpu, self._spent = idle_cpu, 0.0

    def cpu_seconds(self) -> float:
        self._spent += self._idle_cpu
        return self._spent

    def memory_bytes(self) -> int:
        return 1000

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False


class FakeGenerator:
    """Remembers whose turn it was, and answers as fast as each contender is said to."""

    def __init__(self, contenders: list[Contender], latencies: dict[Name, list[float]]) -> None:
        self.turns: list[Name] = []
        self.rates: list[float] = []
        self._contenders = {contender.url: contender for contender in contenders}
        self._latencies = latencies

    def __call__(self, order: Order) -> Outcome:
        contender = self._contenders[order.target.url]
        assert not processes_of(contender).frozen
        if order.span == PLAN.warm_up:
            return Outcome(0.0, [], 0.0)
        self.turns.append(contender.name)
        self.rates.append(order.load.rate)
        latencies = self._latencies.get(contender.name, [0.1])
        latency = latencies[self.turns.count(contender.name) % len(latencies)]
        return Outcome(0.0, [Sent(0.1, 0.1 + latency, OK)] * 10, 0.001)


def processes_of(contender: Contender) -> FakeProcesses:
    return cast(FakeProcesses, contender.processes)


def contenders(**idle: float) -> list[Contender]:
    reply = Reply(image=ImageSize(width=1, height=1), detections=[])
    fakes: list[Any] = [FakeProcesses(idle.get(name.name, 0.0)) for name in NAMES]
    return [Contender(name, f"http://{name}", fake, reply) for name, fake in zip(NAMES, fakes, strict=True)]


def run(found: list[Contender], latencies: dict[Name, list[float]], plan: Plan = PLAN) -> tuple[FakeGenerator, int]:
    done: list[int] = []
    send = FakeGenerator(found, latencies)
    bench = Bench(found, send, b"", sleep=lambda seconds: None)
    rows = bench.run(plan, done.append)
    assert [row.contender for row in rows] == NAMES * plan.loads
    return send, sum(done)


def test_each_round_begins_with_another_contender() -> None:
    send, _ = run(contenders(), {}, PLAN._replace(shares=[]))
    bare, ours, litserve = NAMES
    assert send.turns == [bare, ours, litserve, ours, litserve, bare, litserve, bare, ours]


def test_rounds_go_on_until_all_are_stable_but_not_for_ever() -> None:
    restless = {Name.litserve: [0.1, 0.2]}
    send, done = run(contenders(), restless, PLAN._replace(shares=[]))
    assert len(send.turns) == len(NAMES) * PLAN.rounds == done


def test_windows_that_are_not_needed_count_as_done() -> None:
    _, done = run(contenders(), {})
    assert done == len(NAMES) * PLAN.rounds * PLAN.loads


def test_the_open_loop_is_a_share_of_what_bare_managed() -> None:
    send, _ = run(contenders(), {})
    assert set(send.rates) == {0.0, 5.0}  # ten good answers in a second, and a half of that


def test_who_spins_when_idle_is_stopped_between_its_turns_and_free_in_the_end() -> None:
    found = contenders(litserve=1.0)
    bench = Bench(found, FakeGenerator(found, {}), b"", sleep=lambda seconds: None)
    assert bench.frozen_between_turns == [Name.litserve]
    bench.run(PLAN._replace(shares=[]), lambda windows: None)
    assert not processes_of(found[2]).frozen
