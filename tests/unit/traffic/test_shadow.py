"""The shadow run: what it asks, what it drops, what it counts, and that no answer waits for it."""

import asyncio
import json
import random
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest

from serve_app.backends.protocol import BackendFailure
from serve_app.errors import EngineFailed, InvalidImage, Overloaded
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import BACKENDS, Answer, Backend, Box, Call, Detection, DetectionResult, ImageSize, Options
from serve_app.settings import TrafficPolicy
from serve_app.traffic.shadow import Shadow
from tests.unit.observability.test_metrics import Recorder
from tests.unit.traffic.fake_backend import FakeBackend
from tests.unit.virtual_time import VirtualClock

SHIRT = Detection(label="shirt", score=0.9, box=Box(xmin=10, ymin=10, xmax=60, ymax=60))
HAT = Detection(label="hat", score=0.7, box=Box(xmin=0, ymin=0, xmax=9, ymax=9))


def result(*detections: Detection) -> DetectionResult:
    return DetectionResult(image=ImageSize(width=100, height=100), detections=list(detections), stages={})


async def finish_all() -> None:
    """Wait for every comparison that was started."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


def backends() -> dict[Backend, FakeBackend]:
    """Both see the same until told otherwise."""
    both: dict[Backend, FakeBackend] = {"torch": FakeBackend("torch"), "onnx": FakeBackend("onnx")}
    for backend in both.values():
        backend.gives = result(SHIRT)
    return both


class Bench:
    def __init__(self) -> None:
        self.backends = backends()
        self.recorder = Recorder()
        self.shadow = Shadow(self.backends, RouterMetrics(self.recorder), random.Random(1))

    def run(self, requests: int = 1, backend: Backend = "torch", forced: bool = False, **policy: Any) -> None:
        """Answer some requests, then wait for whatever the shadow run makes of them."""

        async def go() -> None:
            values = {"shadow_fraction": 1.0, "shadow_noise_share": 0.0, "shadow_concurrency": 64}
            settings = TrafficPolicy(**(values | policy))
            for number in range(requests):
                call = Call(f"id-{number}", b"image", Options(), 0, 30, forced=backend if forced else None)
                self.shadow.consider(call, Answer(result(SHIRT), backend, backend), settings)
            await finish_all()

        VirtualClock().run(go())

    @property
    def counted(self) -> Counter[str]:
        return Counter(labels["result"] for _, labels in self.recorder.of("detect_shadow_total"))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(("answered", "asked"), [("torch", "onnx"), ("onnx", "torch")])
def test_the_other_backend_gets_the_image_and_only_if_it_is_idle(
    bench: Bench, answered: Backend, asked: Backend
) -> None:
    bench.run(backend=answered)
    assert bench.backends[asked].only_if_idle == [True]
    assert bench.backends[asked].given == [10]
    assert bench.backends[answered].only_if_idle == []
    assert bench.counted == {"agree": 1}
    assert list(bench.recorder.of("detect_shadow_score_deviation")) == [(0.0, {})]
    assert list(bench.recorder.of("detect_shadow_box_deviation")) == [(0.0, {})]


def test_the_share_is_the_policys(bench: Bench) -> None:
    bench.run(requests=2000, shadow_fraction=0.3)
    assert bench.counted.total() == pytest.approx(600, abs=80)
    before = bench.counted.total()
    bench.run(requests=50, shadow_fraction=0.0)
    assert bench.counted.total() == before


def test_forced_requests_are_not_compared(bench: Bench) -> None:
    bench.run(forced=True)
    assert not bench.counted


def test_over_its_own_bound_a_comparison_is_dropped_not_queued(bench: Bench) -> None:
    bench.backends["onnx"].takes_s = 0.02
    bench.run(requests=5, shadow_concurrency=2)
    assert bench.counted == {"agree": 2, "dropped": 3}
    assert len(bench.backends["onnx"].only_if_idle) == 2


def test_a_finished_comparison_gives_its_place_back(bench: Bench) -> None:
    for _ in range(3):
        bench.run(shadow_concurrency=1)
    assert bench.counted == {"agree": 3}


def test_a_comparison_leaves_the_context_of_its_request(bench: Bench) -> None:
    request, seen = ContextVar("request", default="none"), []

    class Looking(FakeBackend):
        async def detect(self, *arguments: Any, **how: Any) -> DetectionResult:
            seen.append(request.get())
            return await super().detect(*arguments, **how)

    bench.backends["onnx"] = Looking("onnx")
    token = request.set("a client's")
    bench.run()
    request.reset(token)
    assert seen == ["none"]


def test_the_largest_deviations_of_all_comparisons_are_reported(bench: Bench) -> None:
    far = Detection(label="shirt", score=0.6, box=Box(xmin=10, ymin=10, xmax=70, ymax=60))
    for seen in (SHIRT, far, SHIRT):
        bench.backends["onnx"].gives = result(seen)
        bench.run()
    report = bench.shadow.report()["comparisons"]
    assert (report["agree"], report["disagree"]) == (2, 1)
    assert report["max_score_deviation"] == pytest.approx(0.3)
    assert report["max_box_deviation"] == pytest.approx(0.1)


def test_noise_that_is_dropped_or_fails_is_counted_as_noise(bench: Bench) -> None:
    for failure in BackendFailure("queue_full", Overloaded("busy")), InvalidImage("no image"):
        bench.backends["torch"].gives = failure
        bench.run(shadow_noise_share=1.0)
    assert bench.counted == {"noise_dropped": 1, "noise_failed": 1}
    report = bench.shadow.report()
    assert (report["noise_floor"]["dropped"], report["noise_floor"]["failed"]) == (1, 1)
    assert (report["comparisons"]["dropped"], report["comparisons"]["failed"]) == (0, 0)


def test_a_busy_backend_drops_it(bench: Bench) -> None:
    bench.backends["onnx"].gives = BackendFailure("queue_full", Overloaded("busy"))
    bench.run()
    assert bench.counted == {"dropped": 1}


@pytest.mark.parametrize("error", [BackendFailure("engine", EngineFailed("raised")), InvalidImage("no image")])
def test_a_backend_that_fails_is_counted_and_reaches_nobody(bench: Bench, error: Exception) -> None:
    bench.backends["onnx"].gives = error
    bench.run()
    assert bench.counted == {"failed": 1}


def test_a_backend_that_is_down_is_not_asked(bench: Bench) -> None:
    bench.backends["onnx"].is_ready = False
    bench.run()
    assert bench.counted == {"failed": 1}
    assert not bench.backends["onnx"].only_if_idle


def test_a_disagreement_is_kept_with_numbers_and_id_only(bench: Bench) -> None:
    bench.backends["onnx"].gives = result(SHIRT, HAT)
    bench.run()
    assert bench.counted == {"disagree": 1}
    (kept,) = bench.shadow.report()["disagreements"]
    assert kept == {
        "request_id": "id-0", "agrees": False, "matched": 1, "unmatched": 1, "matched_share": pytest.approx(2 / 3),
        "iou": 1.0, "score_deviation": 0.0, "box_deviation": 0.0,
    }  # fmt: skip
    assert "image" not in json.dumps(bench.shadow.report())


def test_the_newest_fifty_are_kept_newest_first(bench: Bench) -> None:
    bench.backends["onnx"].gives = result(HAT)
    bench.run(requests=60)
    kept = [entry["request_id"] for entry in bench.shadow.report()["disagreements"]]
    assert kept == [f"id-{number}" for number in range(59, 9, -1)]


def test_the_noise_floor_is_torch_against_itself_and_counted_apart(bench: Bench) -> None:
    bench.backends["onnx"].gives = result(HAT)
    bench.run(requests=400, shadow_noise_share=0.25, shadow_concurrency=64)
    bench.run(requests=20, shadow_noise_share=1.0)
    report = bench.shadow.report()
    noise, comparisons = report["noise_floor"], report["comparisons"]
    assert noise["agree"] >= 20
    assert (noise["disagree"], noise["max_score_deviation"], noise["max_box_deviation"]) == (0, 0.0, 0.0)
    assert comparisons["agree"] == 0
    assert bench.counted["noise_agree"] == noise["agree"] == len(bench.backends["torch"].only_if_idle)
    assert bench.counted["disagree"] == comparisons["disagree"] == len(bench.backends["onnx"].only_if_idle)
    assert len(list(bench.recorder.of("detect_shadow_score_deviation"))) == comparisons["disagree"]


def test_onnx_answers_never_make_noise(bench: Bench) -> None:
    bench.run(requests=10, backend="onnx", shadow_noise_share=1.0)
    assert bench.counted == {"agree": 10}
    assert bench.shadow.report()["noise_floor"]["agree"] == 0


class Detecting(FakeBackend):
    """Finds what it is told, and cuts the list as a backend does."""

    async def detect(self, data: bytes, options: Options, timeout_s: float, **how: bool) -> DetectionResult:
        found = await super().detect(data, options, timeout_s, **how)
        return result(*_cut(found.detections, options))


def _cut(found: list[Detection], options: Options) -> list[Detection]:
    return [detection for detection in found if detection.score > options.threshold][: options.max_detections]


def compared(answered: list[Detection], other: list[Detection], options: Options, backend: Backend) -> dict[str, Any]:
    """The report after one request with `options`, of which the backends find these."""

    async def go() -> Shadow:
        both = {name: Detecting(name) for name in BACKENDS}
        both["onnx" if backend == "torch" else "torch"].gives = result(*other)
        shadow = Shadow(both, RouterMetrics(Recorder()), random.Random(1))
        call = Call("id", b"image", options, 0, 30)
        policy = TrafficPolicy(shadow_fraction=1, shadow_noise_share=0)
        shadow.consider(call, Answer(result(*_cut(answered, options)), backend, backend), policy)
        await finish_all()
        return shadow

    return VirtualClock().run(go()).report()


def hats(*scores: float) -> list[Detection]:
    """Side by side, each of its own score."""
    boxes = [Box(xmin=10 * index, ymin=0, xmax=10 * index + 9, ymax=9) for index in range(len(scores))]
    return [Detection(label="hat", score=score, box=box) for score, box in zip(scores, boxes, strict=True)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("answered", "other", "agrees"), [
    ([0.54], [0.02], False),  # fell far
    ([0.54], [0.44], False),
    ([0.54], [0.495], True),  # fell by less than the tolerance
    ([0.501], [0.455], True),
    ([0.495], [0.54], True),  # the client's answer was cut at the threshold
    ([0.44], [0.56], False),
    ([], [0.54], True),
    ([0.01], [0.01], True),
])  # fmt: skip
def test_the_other_backend_must_find_all_that_was_answered(
    answered: list[float], other: list[float], agrees: bool, backend: Backend
) -> None:
    report = compared(hats(*answered), hats(*other), Options(threshold=0.5), backend)
    assert report["comparisons"]["agree" if agrees else "disagree"] == 1


def test_a_score_that_crossed_the_threshold_is_measured() -> None:
    report = compared(hats(0.54), hats(0.47), Options(threshold=0.5), "torch")
    assert report["comparisons"]["disagree"] == 1
    assert report["comparisons"]["max_score_deviation"] == pytest.approx(0.07)


@pytest.mark.parametrize("threshold", [0.0, 0.03, 1.0])
def test_no_threshold_leaves_the_range_that_a_backend_takes(threshold: float) -> None:
    report = compared(hats(0.9, 0.02), hats(0.9, 0.02), Options(threshold=threshold), "torch")
    assert report["comparisons"]["agree"] == 1


@pytest.mark.parametrize(("answered", "other", "agrees"), [
    ([0.90, 0.89], [0.89, 0.90], True),   # the cut fell between two that are almost equal
    ([0.90, 0.80], [0.90, 0.80], True),   # the second was cut off on one side only
    ([0.90, 0.10], [0.90, 0.97], False),  # over the cut, so it was missing in the answer
    ([0.90], [0.30], False),
])  # fmt: skip
def test_where_a_full_list_was_cut_nothing_below_is_missed(
    answered: list[float], other: list[float], agrees: bool
) -> None:
    report = compared(hats(*answered), hats(*other), Options(threshold=0.5, max_detections=1), "torch")
    assert report["comparisons"]["agree" if agrees else "disagree"] == 1
