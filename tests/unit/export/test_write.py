"""From checkpoint to artifact folder: in place only as a whole, and only after the gate."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from export import graph, parity, write
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
    assert manifest.parity.detections >= manifest.parity.images
    assert manifest.parity.logit_deviation < 1e-4
    assert manifest.spec == SPEC
    assert is_current(request.out, str(tiny), None)
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
    assert not asked().out.exists()
    assert left_over(asked().out) == []


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_good_earlier_artifact_survives_a_refusal(
    precision: Precision, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write.write(asked(), print).model_copy(update={"precision": precision})
    save(asked().out, before)
    refuse(monkeypatch)
    with pytest.raises(GateFailed):
        write.write(asked(), print)
    assert artifact.load_manifest(asked().out, "") == before


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
@pytest.mark.parametrize("change", [
    {"fingerprint": "sha256:other"},
    {"parity": PARITY.model_copy(update={"box_deviation": 0.2})},
], ids=["another checkpoint", "out of this tolerance"])  # fmt: skip
def test_an_earlier_artifact_that_proves_nothing_is_removed(
    change: dict[str, object], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = asked().out
    save(out, write.write(asked(), print).model_copy(update=change))
    refuse(monkeypatch)
    with pytest.raises(GateFailed):
        write.write(asked(), print)
    assert not out.exists()


@pytest.mark.usefixtures("built")
def test_a_new_artifact_replaces_the_earlier_one_whole(asked: Asked) -> None:
    write.write(asked(), print)
    (asked().out / "stray").touch()
    write.write(asked(), print)
    assert {path.name for path in asked().out.iterdir()} == {artifact.MODEL, artifact.POSITIONS, artifact.MANIFEST}
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


def test_a_folder_with_other_files_is_never_replaced(asked: Asked) -> None:
    asked().out.mkdir(parents=True)
    (asked().out / "thesis.txt").touch()
    with pytest.raises(ConfigurationError, match="holds other files"):
        write.write(asked(), print)
    assert (asked().out / "thesis.txt").exists()


def test_a_file_is_not_a_folder_and_a_relative_one_is_named_with_its_place(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifact").touch()
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/artifact is a file"):
        write.write(asked()._replace(out=Path("artifact")), print)


def test_a_place_that_cannot_be_written_is_named(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "blocked").touch()
    with pytest.raises(ConfigurationError, match="cannot write beside"):
        write.write(asked(out="blocked/artifact"), print)


def test_current_means_of_this_checkpoint_intact_and_so_precise(
    tiny_artifact: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_artifact, tmp_path / "artifact")
    assert is_current(folder, str(tiny), None)
    assert not is_current(folder, str(tiny), None, "int8")
    assert not is_current(tmp_path / "none", str(tiny), None)
    other = checkpoints.make(tmp_path / "other", mid=True, seed=1)
    assert not is_current(folder, str(other), None)
    (folder / artifact.MODEL).write_bytes(b"")
    assert not is_current(folder, str(tiny), None)
    with pytest.raises(ConfigurationError, match="no such folder"):
        is_current(folder, str(tmp_path / "gone"), None)
