"""The artifact's folder: what is missing, foreign or damaged is refused, and the refusal ends in the remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.detection.model import artifact, checkpoint
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings
from tests import checkpoints
from tests.checkpoints import save

REMEDY = "run: the export"


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_artifact, tmp_path / "artifact")


def test_a_whole_artifact_is_found(folder: Path, tiny: Path) -> None:
    found, manifest = artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))
    assert found == folder
    assert manifest.fingerprint == checkpoint.fingerprint(tiny)
    assert set(manifest.files) == {artifact.MODEL, artifact.POSITIONS}


def test_the_command_that_makes_it_is_in_the_refusal(tiny: Path, tmp_path: Path) -> None:
    settings = OnnxSettings(checkpoint=str(tiny), artifact=str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=rf"python -m export --checkpoint {tiny} --out {tmp_path}/none"):
        artifact.find(settings)


def test_a_relative_artifact_is_named_with_the_place_looked_at(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/artifacts/demo/manifest.json is missing; run: .* --out"):
        artifact.find(OnnxSettings(checkpoint=str(tiny), artifact="artifacts/demo"))


def test_an_artifact_from_before_a_setting_was_read_is_refused(folder: Path, tiny: Path, tmp_path: Path) -> None:
    padded = Path(shutil.copytree(tiny, tmp_path / "padded"))
    checkpoints.write_preprocessor(padded, {"size": {"height": 64, "width": 96}, "pad_size": 96})
    manifest = artifact.load_manifest(folder, "").model_copy(update={"fingerprint": checkpoint.fingerprint(padded)})
    settings = OnnxSettings(checkpoint=str(padded), artifact=str(folder))
    for ignorant in ({"pad": None}, {"rescale": 1.0}):
        spec = checkpoint.read_spec(padded).model_copy(update=ignorant)
        save(folder, manifest.model_copy(update={"spec": spec}))
        with pytest.raises(
            ConfigurationError, match=r"version that read its checkpoint otherwise; run: python -m export"
        ):
            artifact.find(settings)
    save(folder, manifest.model_copy(update={"spec": checkpoint.read_spec(padded)}))
    artifact.find(settings)


def test_an_artifact_of_weights_that_are_not_whole_is_refused(folder: Path, tiny: Path, tmp_path: Path) -> None:
    lacking = checkpoints.without_tensor(tiny, tmp_path / "lacking", "vit.layernorm.bias")
    manifest = artifact.load_manifest(folder, "").model_copy(update={"fingerprint": checkpoint.fingerprint(lacking)})
    save(folder, manifest)
    with pytest.raises(ConfigurationError, match=r"tensors missing: 1 \(vit\.layernorm\.bias\)"):
        artifact.find(OnnxSettings(checkpoint=str(lacking), artifact=str(folder)))


def without_positions(folder: Path) -> None:
    (folder / artifact.POSITIONS).unlink()


def without_manifest(folder: Path) -> None:
    (folder / artifact.MANIFEST).unlink()


def with_a_damaged_graph(folder: Path) -> None:
    path = folder / artifact.MODEL
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def with_a_manifest_cut_short(folder: Path) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(path.read_text()[:100])


def with_an_unknown_precision(folder: Path) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(path.read_text().replace('"fp32"', '"fp4"'))


def with_another_opset(folder: Path) -> None:
    save(folder, artifact.load_manifest(folder, "").model_copy(update={"opset": 17}))


def never_compared(folder: Path) -> None:
    save(folder, artifact.load_manifest(folder, "").model_copy(update={"parity": None}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_positions, "position_embeddings.npz is missing"),
        (without_manifest, "manifest.json is missing"),
        (with_a_damaged_graph, "model.onnx is damaged"),
        (with_a_manifest_cut_short, "manifest.json is damaged"),
        (with_an_unknown_precision, "precision"),
        (with_another_opset, "opset 17, expected 20"),
        (never_compared, "never passed"),
    ],
)
def test_a_spoilt_artifact_is_refused_with_the_remedy(
    spoil: Callable[[Path], None], words: str, folder: Path, tiny: Path
) -> None:
    spoil(folder)
    with pytest.raises(ConfigurationError, match=words) as caught:
        artifact.verify(folder, artifact.load_manifest(folder, REMEDY), checkpoint.fingerprint(tiny), REMEDY)
    assert caught.value.detail.endswith(REMEDY)


def test_an_artifact_of_another_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="another checkpoint"):
        artifact.verify(folder, artifact.load_manifest(folder, REMEDY), "sha256:other", REMEDY)
