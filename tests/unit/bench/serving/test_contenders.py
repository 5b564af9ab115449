"""A contender that does other work is not measured, and one that does not start says why."""

from pathlib import Path

import pytest

from bench.serving import contenders, environments
from bench.serving.contenders import Name, Reply, Setup, require_same
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


def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    """No engine runs on zero threads."""
    setup = Setup(threads=0, photo=b"", environments=tmp_path)
    with pytest.raises(ConfigurationError, match="it ended while starting"), contenders.running(Name.bare, setup):
        pass


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], failure: str) -> None:
        commands.append(command)
        python = tmp_path / "litserve/bin/python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(environments, "_run", run)
    assert environments.python_of("litserve", tmp_path) == tmp_path / "litserve/bin/python"
    assert len(commands) == 2
    environments.python_of("litserve", tmp_path)
    assert len(commands) == 2


def test_a_peer_that_cannot_be_installed_gives_pips_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def venv(command: list[str], failure: str) -> None:
        python = tmp_path / "litserve/bin/python"
        if python.exists():
            real_run([str(python)], failure)
            return
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\necho a list of versions >&2\necho ERROR: No matching distribution >&2\nexit 1\n")
        python.chmod(0o700)

    real_run = environments._run
    monkeypatch.setattr(environments, "_run", venv)
    with pytest.raises(ConfigurationError, match="pip failed: ERROR: No matching"):
        environments.python_of("litserve", tmp_path)


@pytest.mark.parametrize("peer", ["litserve", "bentoml", "mlserver"])
def test_peers_are_pinned_exactly_and_share_our_engine(peer: str) -> None:
    pins = [line.split()[0] for line in (environments.PINS / f"{peer}.txt").read_text().splitlines() if line[:1] != "#"]
    ours = Path("constraints.txt").read_text().splitlines()
    assert all("==" in pin for pin in pins)
    shared = ("numpy", "onnxruntime", "pillow", "pydantic", "scipy")
    assert environments.version_of(peer)[0].isdigit()
    assert {pin for pin in pins if pin.partition("==")[0] in shared} <= set(ours)
