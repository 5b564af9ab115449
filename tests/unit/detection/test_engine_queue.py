"""Turns at the engine: waiting images of one shape go together, none waits for a batch, each gets its own answer."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from serve_app.detection.engine_queue import EngineQueue, Turn
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from serve_app.errors import DeadlineExceeded, EngineFailed, ServingError
from tests.unit.detection.clock import FakeClock

TALL, WIDE = (64, 32), (32, 64)


class Engine:
    """Answers each image with its own first value; the first inference waits until it is let go."""

    info = EngineInfo("test-engine", "cpu", "fp32", 1, {})

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self.raises: Exception | None = None

    def infer(self, pixels: Pixels) -> RawOutputs:
        self.shapes.append(pixels.shape)
        self.entered.set()
        assert self.go.wait(60)
        if self.raises is not None:
            raise self.raises
        values = pixels[:, 0, 0, 0]
        return RawOutputs(values.reshape(-1, 1, 1), np.repeat(values, 4).reshape(-1, 1, 4))


class ArrivalsCounted(threading.Semaphore):
    """The semaphore of the queue; `arrived` is released by each thread that comes to it, before it waits."""

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.arrived = threading.Semaphore(0)

    def __enter__(self, blocking: bool = True, timeout: float | None = None) -> bool:
        self.arrived.release()
        return self.acquire(blocking, timeout)


class Client(threading.Thread):
    """Sends one image; `got` is its answer or the error raised, once the thread is joined."""

    def __init__(self, queue: EngineQueue, value: float, size: tuple[int, int], check: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._queue, self._check = queue, check
        self._pixels = np.full((1, 3, *size), value, np.float32)
        self.got: Turn | ServingError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.got = self._queue.infer(self._pixels, self._check)
        except ServingError as error:
            self.got = error


def all_at_once(
    engine: Engine, max_batch: int, sizes: list[tuple[int, int]], check: Callable[[str], None] = lambda step: None
) -> list[Client]:
    """The first client holds the engine until all the others have come, one after the other."""
    queue = EngineQueue(engine, max_batch)
    queue._places = places = ArrivalsCounted(1)
    clients = []
    for value, size in enumerate(sizes):
        clients.append(Client(queue, value, size, check if value else lambda step: None))
        assert places.arrived.acquire(timeout=60)
        assert engine.entered.wait(60)
    engine.go.set()
    for client in clients:
        client.join(60)
    return clients


def answers(clients: list[Client]) -> list[float]:
    return [float(client.got.outputs.boxes[0, 0, 3]) for client in clients if isinstance(client.got, Turn)]


def test_without_batching_each_image_has_its_own_inference() -> None:
    engine = Engine()
    assert answers(all_at_once(engine, 1, [TALL] * 4)) == [0, 1, 2, 3]
    assert engine.shapes == [(1, 3, *TALL)] * 4


def test_busy_s_is_that_of_the_longest_of_two_inferences() -> None:
    engine, clock = Engine(), FakeClock()
    queue = EngineQueue(engine, at_once=2, clock=clock)
    clients = []
    for began in (10.0, 13.0):
        clock.now = began
        clients.append(Client(queue, 0, TALL, lambda step: None))
        assert engine.entered.wait(60)
        engine.entered.clear()
    clock.now = 17.5
    assert queue.busy_s == 7.5
    engine.go.set()
    for client in clients:
        client.join(60)
    assert queue.busy_s == 0


def test_those_who_wait_go_together_up_to_the_limit() -> None:
    engine = Engine()
    assert answers(all_at_once(engine, 3, [TALL] * 6)) == [0, 1, 2, 3, 4, 5]
    assert [shape[0] for shape in engine.shapes] == [1, 3, 2]


def test_only_images_of_one_shape_go_together() -> None:
    engine = Engine()
    assert answers(all_at_once(engine, 8, [TALL, WIDE, TALL, WIDE, TALL])) == [0, 1, 2, 3, 4]
    assert sorted(engine.shapes[1:]) == [(2, 3, *WIDE), (2, 3, *TALL)]


def test_an_image_that_was_given_up_is_left_out_of_the_batch() -> None:
    engine = Engine()

    def check(step: str) -> None:
        raise DeadlineExceeded(f"too late for the {step}")

    clients = all_at_once(engine, 8, [TALL] * 3, check)
    assert answers(clients) == [0]
    assert [str(client.got) for client in clients[1:]] == ["too late for the inference"] * 2
    assert len(engine.shapes) == 1


def test_an_engine_that_fails_fails_the_whole_batch() -> None:
    engine = Engine()
    engine.raises = RuntimeError("no kernel")
    clients = all_at_once(engine, 8, [TALL] * 3)
    assert all(isinstance(client.got, EngineFailed) for client in clients)
    assert [shape[0] for shape in engine.shapes] == [1, 2]


def test_the_seconds_before_the_inference_and_in_it_are_told_apart() -> None:
    clock = FakeClock()

    class Slow(Engine):
        def infer(self, pixels: Pixels) -> RawOutputs:
            clock.now += 2
            return super().infer(pixels)

    def check(step: str) -> None:
        clock.now += 3

    engine = Slow()
    engine.go.set()
    turn = EngineQueue(engine, clock=clock).infer(np.zeros((1, 3, *TALL), np.float32), check)
    assert (turn.waited, turn.inferred) == (3, 2)


def test_errors_are_raised_to_the_caller() -> None:
    engine = Engine()
    engine.go.set()
    engine.raises = ValueError("odd")
    with pytest.raises(EngineFailed, match="test-engine failed: ValueError"):
        EngineQueue(engine).infer(np.zeros((1, 3, *TALL), np.float32))
