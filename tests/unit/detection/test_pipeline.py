"""The pipeline around an engine: stages are timed, bad output and late work are refused."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import EngineInfo, ModelSpec, Pixels, RawOutputs, ResizeRule
from serve_app.errors import BadOutput, DeadlineExceeded, EngineFailed, InvalidImage
from serve_app.schemas import STAGES, Options
from serve_app.settings import LimitSettings
from tests.unit.detection.clock import FakeClock

SPEC = ModelSpec(
    labels=["hat", "shoe"], resize=ResizeRule(shortest_edge=64, longest_edge=96), mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5), patch_size=16, position_grid=(4, 6), detection_tokens=3,
)  # fmt: skip


class Engine:
    """An engine that returns what it is given, or raises it."""

    info = EngineInfo("test-engine", "cpu", "fp32", 1, {})

    def __init__(self, answer: RawOutputs | Exception) -> None:
        self.answer = answer
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, pixels: Pixels) -> RawOutputs:
        self.shapes.append(pixels.shape)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class HeldEngine(Engine):
    """An engine whose inferences end only when `leave` is released, once for each; `entered` is by each that begins."""

    def __init__(self, answer: RawOutputs) -> None:
        super().__init__(answer)
        self.entered, self.leave = threading.Semaphore(0), threading.Semaphore(0)
        self.inside: list[int] = []  # how many were inside, at each entry
        self._count, self._counting = 0, threading.Lock()

    def infer(self, pixels: Pixels) -> RawOutputs:
        with self._counting:
            self._count += 1
            self.inside.append(self._count)
        self.entered.release()
        assert self.leave.acquire(timeout=60)
        with self._counting:
            self._count -= 1
        return super().infer(pixels)


def outputs(queries: int = 3, columns: int = 3, fill: float = 0.0) -> RawOutputs:
    return RawOutputs(np.full((1, queries, columns), fill, np.float32), np.full((1, queries, 4), 0.5, np.float32))


@pytest.fixture
def image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (120, 80), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def pipeline(answer: RawOutputs | Exception) -> tuple[Pipeline, Engine]:
    engine = Engine(answer)
    return Pipeline(engine, SPEC, LimitSettings()), engine


def test_one_image_goes_all_the_way(image: bytes) -> None:
    line, engine = pipeline(outputs())
    result = line.detect(image, Options(threshold=0.3), timeout_s=10)
    assert engine.shapes == [(1, 3, 64, 96)]
    assert (result.image.width, result.image.height) == (120, 80)
    assert [d.box.model_dump() for d in result.detections] == [{"xmin": 30, "ymin": 20, "xmax": 90, "ymax": 60}] * 3
    assert set(result.stages) == set(STAGES)


def test_the_boxes_of_a_reduced_picture_are_pixels_of_the_whole(image: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with io.BytesIO() as buffer:
        Image.new("RGB", (80, 120), "teal").save(buffer, "JPEG", exif=exif)
        photo = buffer.getvalue()
    line = Pipeline(Engine(outputs()), SPEC, LimitSettings(max_pixels=1000))
    assert line.inspect(photo).scale == 4
    result = line.detect(line.inspect(photo), Options(threshold=0.3), timeout_s=10)
    assert (result.image.width, result.image.height) == (120, 80)
    assert [d.box.model_dump() for d in result.detections] == [{"xmin": 30, "ymin": 20, "xmax": 90, "ymax": 60}] * 3


def test_the_pixels_are_gone_before_the_image_waits_for_the_engine(image: bytes) -> None:
    engine = HeldEngine(outputs())
    line, gone = Pipeline(engine, SPEC, LimitSettings()), threading.Event()
    thread = threading.Thread(target=line.detect, args=(image, Options(), 30, None, gone.set))
    thread.start()
    assert engine.entered.acquire(timeout=60)
    assert gone.is_set()
    engine.leave.release()
    thread.join(60)


def test_every_stage_has_its_own_seconds(image: bytes) -> None:
    clock = FakeClock(step=1)
    line = Pipeline(Engine(outputs()), SPEC, LimitSettings(), clock=clock)
    stages = line.detect(image, Options(), timeout_s=100).stages
    # The clock moves on by one second at each reading; between asking for the engine and the inference lies one more,
    # at which the deadline is checked.
    assert stages == {"decode": 1, "preprocess": 1, "queue": 2, "inference": 1, "postprocess": 1}


def test_a_deadline_that_passes_while_decoding_prevents_the_inference(image: bytes) -> None:
    engine = Engine(outputs())
    line = Pipeline(engine, SPEC, LimitSettings(), clock=FakeClock(step=1))
    with pytest.raises(DeadlineExceeded, match="before the inference could begin"):
        line.detect(image, Options(), timeout_s=3)
    assert engine.shapes == []


def test_a_request_that_was_given_up_is_not_decoded(image: bytes) -> None:
    line, engine = pipeline(outputs())
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(DeadlineExceeded, match="given up before its decoding began"):
        line.detect(image, Options(), timeout_s=10, given_up=given_up)
    assert engine.shapes == []


def test_an_inference_over_its_limit_is_taken_for_one_that_hangs(image: bytes) -> None:
    engine, clock = HeldEngine(outputs()), FakeClock()
    line = Pipeline(engine, SPEC, LimitSettings(), inference_limit_s=5, clock=clock)
    thread = threading.Thread(target=line.detect, args=(image, Options(), 30))
    thread.start()
    assert engine.entered.acquire(timeout=60)
    clock.now = 5
    line.require_alive()
    clock.now = 6
    with pytest.raises(EngineFailed, match=r"test-engine .* for 6 s, the limit \(inference_limit_s\) is 5 s"):
        line.require_alive()
    engine.leave.release()
    thread.join(60)
    line.require_alive()


def test_warm_up_runs_upright_and_across() -> None:
    line, engine = pipeline(outputs())
    line.warm_up(rounds=1)
    assert {shape[2:] for shape in engine.shapes} == {(64, 80), (80, 64)}


def test_a_warm_up_that_fails_is_not_passed_over() -> None:
    with pytest.raises(EngineFailed):
        pipeline(RuntimeError("no kernel"))[0].warm_up()


@pytest.mark.parametrize(
    "answer",
    [outputs(queries=2), outputs(columns=4), outputs(fill=np.nan), outputs(fill=np.inf),
     RawOutputs(outputs().logits, np.full((1, 3, 4), np.nan, np.float32)),
     RawOutputs(outputs().logits, np.zeros((1, 3, 5), np.float32))],
)  # fmt: skip
def test_an_output_that_cannot_be_right_is_refused(answer: RawOutputs, image: bytes) -> None:
    with pytest.raises(BadOutput, match="test-engine returned"):
        pipeline(answer)[0].detect(image, Options(), timeout_s=10)


def test_an_engine_that_raises_keeps_its_secrets(image: bytes) -> None:
    with pytest.raises(EngineFailed, match="test-engine failed: RuntimeError") as caught:
        pipeline(RuntimeError("/secret/path"))[0].detect(image, Options(), timeout_s=10)
    assert "/secret" not in caught.value.detail


def test_work_that_is_too_late_is_not_started(image: bytes) -> None:
    line, engine = pipeline(outputs())
    with pytest.raises(DeadlineExceeded):
        line.detect(image, Options(), timeout_s=0)
    assert engine.shapes == []


def test_a_bad_image_never_reaches_the_engine() -> None:
    line, engine = pipeline(outputs())
    with pytest.raises(InvalidImage):
        line.detect(b"nonsense", Options(), timeout_s=10)
    assert engine.shapes == []


@pytest.mark.parametrize("allowed", [1, 2])
def test_as_many_inferences_run_at_once_as_are_allowed(image: bytes, allowed: int) -> None:
    engine = HeldEngine(outputs())
    line = Pipeline(engine, SPEC, LimitSettings(), inferences_at_once=allowed)
    threads = [threading.Thread(target=line.detect, args=(image, Options(), 30)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(allowed):
        assert engine.entered.acquire(timeout=60)
    for _ in range(8 - allowed):  # one leaves, the next enters
        engine.leave.release()
        assert engine.entered.acquire(timeout=60)
    engine.leave.release(allowed)
    for thread in threads:
        thread.join(60)
    assert len(engine.shapes) == 8
    assert max(engine.inside) == allowed
