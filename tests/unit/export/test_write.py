"""From checkpoint to artifact folder: in place only as a whole, and only after the gate."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from export import graph, parity, target, write
from export.current import is_current
from export.quantize import Kept
from export.request import Request
from export.write import GateFailed
from serve_app.detection.engines import cpu
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Manifest, Precision
from serve_app.errors import ConfigurationError
from tests import checkpoints
from tests.checkpoints import PARITY, SPEC, save

Asked = Callable[..., Request]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models gain nothing from threads, and threads wait for each other where other processes want the cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small pictures of noise: decoding the demo's large ones takes most of a comparison's time."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def asked(tiny: Path, images: Path, tmp_path: Path) -> Asked:
    def ask(tolerance: float = 0.05, precision: Precision = "fp32", out: str = "out/artifact") -> Request:
        return Request(str(tiny), None, tmp_path / out, images, tolerance, precision)

    return ask


@pytest.fixture
def built(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies the session's artifact instead of tracing again."""

    def build(
        work: Path, folder: Path, name: str, precision: Precision, say: Callable[[str], None], kept: Kept
    ) -> Manifest:
        say(kept)
        shutil.copytree(tiny_artifact, work, dirs_exist_ok=True)
        manifest = artifact.load_manifest(work, "")
        return manifest.model_copy(update={"parity": None, "precision": precision, "checkpoint": name})

    monkeypatch.setattr(write, "build", build)


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = parity.Verdict([], ["second: everything differs"], PARITY)
    monkeypatch.setattr(write, "_judge", lambda *_: verdict)


def left_over(out: Path) -> list[str]:
    return [path.name for path in out.parent.iterdir() if path != out]


@pytest.mark.usefixtures("built")
def test_a_checkpoint_becomes_an_artifact_that_is_exact(asked: Asked, tiny: Path) -> None:
    request = asked()._replace(images=None)
    said: list[str] = []
    manifest = write.write(request, said.append)
    assert artifact.load_manifest(request.out, "") == manifest
    assert manifest.parity is not None
    assert manifest.parity.detections + manifest.parity.queries >= manifest.parity.images
    assert manifest.parity.logit_deviation < 1e-4
    assert manifest.spec == SPEC
    assert is_current(request)
    assert left_over(request.out) == []
    assert said == [Kept.heads, "comparing both engines on 12 images"]


def test_an_int8_draft_holds_the_quantised_graph_and_its_hash(
    tiny: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(_: object, spec: object, path: Path) -> None:
        shutil.copyfile(tiny_artifact / artifact.MODEL, path)

    monkeypatch.setattr(graph, "write_graph", copied)
    said: list[str] = []
    draft = write.build(tmp_path, tiny, "tiny", "int8", said.append, Kept.first)
    assert said == ["tracing tiny", f"quantising all but {Kept.first}"]
    assert (draft.checkpoint, draft.precision, draft.parity) == ("tiny", "int8", None)
    assert draft.files == {name: artifact.file_hash(tmp_path / name) for name in (artifact.MODEL, artifact.POSITIONS)}
    operators = {node.op_type for node in onnx.load(tmp_path / artifact.MODEL).graph.node}
    assert "MatMulInteger" in operators


@pytest.mark.usefixtures("built")
def test_a_refused_artifact_leaves_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    with pytest.raises(GateFailed, match="1 of 12 images differ"):
        write.write(asked(), print)
    assert not asked().out.parent.exists(), "not even the folder above, which the export made"


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("change", [
    {}, {"precision": "int8"}, {"fingerprint": "sha256:other"},
    {"parity": PARITY.model_copy(update={"box_deviation": 0.2})},
], ids=["the same", "another precision", "another checkpoint", "out of this tolerance"])  # fmt: skip
def test_a_refusal_changes_nothing(change: dict[str, object], asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    out = asked().out
    before = write.write(asked(), print).model_copy(update=change)
    save(out, before)
    (out / "README.md").touch()
    refuse(monkeypatch)
    with pytest.raises(GateFailed):
        write.write(asked(), print)
    assert artifact.load_manifest(out, "") == before
    artifact.read(out, before, "")
    assert {path.name for path in out.iterdir()} == {*before.files, artifact.MANIFEST, "README.md"}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("precision", "attempts"), [("int8", list(Kept)), ("bf16", [Kept.heads])])
def test_only_int8_is_tried_again_with_more_kept(
    precision: Precision, attempts: list[Kept], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "require", lambda precision: None)
    refuse(monkeypatch)
    said: list[str] = []
    with pytest.raises(GateFailed):
        write.write(asked(precision=precision), said.append)
    assert [line for line in said if not line.startswith("comparing")] == attempts


@pytest.mark.usefixtures("built")
def test_a_new_artifact_replaces_the_earlier_one_and_nothing_else(asked: Asked) -> None:
    write.write(asked(), print)
    (asked().out / "stray").touch()
    write.write(asked(), print)
    names = {artifact.MODEL, artifact.POSITIONS, artifact.MANIFEST, "stray"}
    assert {path.name for path in asked().out.iterdir()} == names
    assert left_over(asked().out) == []


@pytest.mark.usefixtures("built")
def test_an_error_on_the_way_leaves_the_earlier_one_and_no_rest(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write.write(asked(), print)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(write, "_judge", fail)
    with pytest.raises(RuntimeError):
        write.write(asked(), print)
    assert artifact.load_manifest(asked().out, "") == before
    assert left_over(asked().out) == []


def test_the_folder_is_looked_at_before_the_checkpoint(asked: Asked) -> None:
    asked().out.mkdir(parents=True)
    (asked().out / "thesis.txt").touch()
    with pytest.raises(ConfigurationError, match="holds other files"):
        write.write(asked()._replace(checkpoint="./nowhere"), print)
    assert (asked().out / "thesis.txt").exists()


def test_a_file_is_not_a_folder_and_a_relative_one_is_named_with_its_place(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifact").touch()
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/artifact is a file"):
        write.write(asked()._replace(out=Path("artifact")), print)


@pytest.mark.parametrize(("precision", "factor"), [("fp32", 1.2), ("int8", 2.3)])
def test_the_room_for_the_work_follows_the_weights(
    precision: Precision, factor: float, asked: Asked, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[int] = []

    def stop(out: Path, needed: int) -> None:
        asked_for.append(needed)
        raise ConfigurationError("full")

    monkeypatch.setattr(cpu, "require", lambda precision: None)
    monkeypatch.setattr(target, "workspace", stop)
    with pytest.raises(ConfigurationError, match="full"):
        write.write(asked(precision=precision), print)
    assert asked_for == [int(factor * (tiny / "model.safetensors").stat().st_size)]


def test_current_means_of_this_checkpoint_intact_so_precise_and_within_the_tolerance(
    asked: Asked, tiny_artifact: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    this = asked()._replace(out=folder)
    assert is_current(this)
    assert not is_current(this._replace(precision="int8"))
    assert not is_current(this._replace(tolerance=1e-9))
    assert not is_current(this._replace(out=tmp_path / "none"))
    assert not is_current(this._replace(out=tmp_path / ("x" * 300)))
    other = checkpoints.make(tmp_path / "other", mid=True, seed=1)
    assert not is_current(this._replace(checkpoint=str(other)))
    (folder / artifact.MODEL).write_bytes(b"")
    assert not is_current(this)
    with pytest.raises(ConfigurationError, match="no such folder"):
        is_current(this._replace(checkpoint=str(tmp_path / "gone")))
