"""A contender that does other work is not measured, and one that does not start says why."""

from pathlib import Path

import pytest

from bench.serving import contenders
from bench.serving.contenders import PINS, Name, Reply, require_same, version_of
from serve_app.errors import ConfigurationError
from serve_app.schemas import Box, Detection, ImageSize

PANTS = Detection(label="pants", score=0.9, box=Box.of([10, 10, 90, 90]))
SHIRT = Detection(label="shirt", score=0.9, box=Box.of([10, 10, 50, 50]))
SIZE = ImageSize(width=100, height=100)
REFERENCE = Reply(image=SIZE, detections=[PANTS, SHIRT])


def test_the_same_answer_is_no_difference() -> None:
    near = PANTS.model_copy(update={"score": 0.91})
    require_same(REFERENCE, Reply(image=SIZE, detections=[near, SHIRT]))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(image=SIZE, detections=[PANTS]), "1 of 2 detections match"),
        (Reply(image=SIZE, detections=[PANTS, PANTS]), "1 of 2 detections match"),
        (Reply(image=ImageSize(width=50, height=100), detections=[PANTS, SHIRT]), "50x100"),
    ],
)
def test_other_work_is_named(reply: Reply, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        require_same(REFERENCE, reply)


def test_a_server_that_ends_says_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "THREADS", 0)  # no engine runs on zero threads
    with pytest.raises(ConfigurationError, match="it ended while starting"), contenders.running(Name.bare):
        pass


def test_a_peer_without_an_environment_is_left_out_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "WORK", tmp_path)
    own = tmp_path / "peers/litserve"
    with pytest.raises(ConfigurationError) as caught, contenders.running(Name.litserve):
        pass
    assert caught.value.detail == (
        f"it has no environment; run: python -m venv {own} && "
        f"{own}/bin/python -m pip install -r bench/serving/peers/litserve.txt"
    )


@pytest.mark.parametrize("peer", ["litserve", "bentoml", "mlserver"])
def test_peers_are_pinned_exactly_and_share_our_engine(peer: str) -> None:
    pins = [line.split()[0] for line in (PINS / f"{peer}.txt").read_text().splitlines() if line[:1] != "#"]
    ours = Path("constraints.txt").read_text().splitlines()
    assert all("==" in pin for pin in pins)
    shared = ("numpy", "onnxruntime", "pillow", "pydantic", "scipy")
    assert version_of(Name(peer))[0].isdigit()
    assert {pin for pin in pins if pin.partition("==")[0] in shared} <= set(ours)
