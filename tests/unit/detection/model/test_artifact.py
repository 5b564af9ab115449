"""The artifact's folder: what is missing, foreign or damaged is refused, and the refusal ends in the remedy."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from serve_app.detection.model import artifact, checkpoint
from serve_app.detection.model.artifact import Files
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings
from tests import checkpoints
from tests.checkpoints import PARITY, save

REMEDY = "run: the export"


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_artifact, tmp_path / "artifact")


def test_a_whole_artifact_is_found(folder: Path, tiny: Path) -> None:
    files, manifest = artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))
    assert files.folder == folder
    assert files.model == (folder / artifact.MODEL).read_bytes()
    assert files.positions == (folder / artifact.POSITIONS).read_bytes()
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


def edit(folder: Path, **values: object) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def listing(folder: Path, **names: str | None) -> None:
    """Let the manifest list other files, with their true hashes where they exist; None leaves a name out."""
    files = artifact.load_manifest(folder, "").files | {name: str(value) for name, value in names.items()}
    edit(folder, files={name: value for name, value in files.items() if names.get(name, "") is not None})


def without_the_models_hash(folder: Path) -> None:
    listing(folder, **{artifact.MODEL: None})


def with_a_path_elsewhere(folder: Path) -> None:
    (folder.parent / "outside").write_text("secret")
    listing(folder, **{"../outside": artifact.file_hash(folder.parent / "outside")})


def with_an_absolute_path(folder: Path) -> None:
    listing(folder, **{"/etc/hostname": "sha256:0"})


def with_another_position_file(folder: Path) -> None:
    (folder / "position_embeddings_2.npz").write_bytes(b"")
    listing(folder, **{"position_embeddings_2.npz": artifact.file_hash(folder / "position_embeddings_2.npz")})


def with_a_link_out_of_the_folder(folder: Path) -> None:
    moved = (folder / artifact.POSITIONS).rename(folder.parent / "positions.npz")
    (folder / artifact.POSITIONS).symlink_to(moved)


def with_the_manifest_elsewhere(folder: Path) -> None:
    moved = (folder / artifact.MANIFEST).rename(folder.parent / "elsewhere.json")
    (folder / artifact.MANIFEST).symlink_to(moved)


def with_a_pipe_as_model(folder: Path) -> None:
    (folder / artifact.MODEL).unlink()
    os.mkfifo(folder / artifact.MODEL)


def with_weights_in_another_file(folder: Path) -> None:
    path = folder / artifact.MODEL
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=256)
    listing(folder, **{artifact.MODEL: artifact.file_hash(path)})


def of_another_format(folder: Path) -> None:
    edit(folder, format=2)


def compared_with_nothing(folder: Path) -> None:
    edit(folder, precision="int8", parity=PARITY.model_dump() | {"detections": 0, "threshold": 0.023})


def with_not_a_number(folder: Path) -> None:
    edit(folder, precision="int8", parity=PARITY.model_dump() | {"logit_deviation": float("nan")})


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
        (compared_with_nothing, "never passed"),
        (with_not_a_number, "never passed"),
        (without_the_models_hash, "manifest.json lists no model.onnx"),
        (with_a_path_elsewhere, "manifest.json lists '../outside', which is no file of an artifact"),
        (with_an_absolute_path, "manifest.json lists '/etc/hostname'"),
        (with_another_position_file, "manifest.json lists 'position_embeddings_2.npz'"),
        (
            with_a_link_out_of_the_folder,
            r"position_embeddings.npz is a link to .*/positions.npz, outside of its folder",
        ),
        (with_the_manifest_elsewhere, r"manifest.json is a link to .*/elsewhere.json, outside of its folder"),
        (with_a_pipe_as_model, "model.onnx is missing"),
        (with_weights_in_another_file, "model.onnx keeps weights in weights.bin, which its manifest does not cover"),
        (of_another_format, "manifest.json is damaged or from another version .format"),
    ],
)
def test_a_spoilt_artifact_is_refused_with_the_remedy(
    spoil: Callable[[Path], None], words: str, folder: Path, tiny: Path
) -> None:
    spoil(folder)
    with pytest.raises(ConfigurationError, match=words) as caught:
        artifact.verify(
            folder,
            artifact.load_manifest(folder, REMEDY),
            checkpoint.fingerprint(tiny),
            checkpoint.read_spec(tiny),
            REMEDY,
        )
    assert caught.value.detail.endswith(REMEDY)
    assert len(caught.value.detail.splitlines()) == 1


def test_an_artifact_of_another_checkpoint_is_refused(folder: Path) -> None:
    manifest = artifact.load_manifest(folder, REMEDY)
    with pytest.raises(ConfigurationError, match="another checkpoint"):
        artifact.verify(folder, manifest, "sha256:other", manifest.spec, REMEDY)


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match=r"manifest\.json cannot be read: Permission denied; run: the export"):
        artifact.load_manifest(folder, REMEDY)


def test_a_name_too_long_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: File name too long; run: the export"):
        artifact.load_manifest(tmp_path / ("x" * 300), REMEDY)


def test_links_inside_the_folder_are_as_good_as_files(folder: Path, tiny: Path) -> None:
    (folder / "..data").mkdir()  # as Kubernetes mounts a volume of files
    for name in (artifact.MODEL, artifact.POSITIONS, artifact.MANIFEST):
        (folder / name).rename(folder / "..data" / name)
        (folder / name).symlink_to(Path("..data") / name)
    artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))


def test_a_manifest_of_before_queries_were_counted_still_loads(folder: Path, tiny: Path) -> None:
    parity = PARITY.model_dump()
    del parity["queries"]
    edit(folder, parity=parity | {"detections": 0})  # in fp32 all raw outputs were compared even then
    artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))


def test_other_files_in_the_folder_are_nobodys_business(folder: Path, tiny: Path) -> None:
    (folder / "README.md").write_text("ours")
    artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))


def test_who_reads_waits_for_who_replaces(folder: Path) -> None:
    entered, order = threading.Event(), []

    def read() -> None:
        entered.set()
        with artifact.locked(folder):
            order.append("read")

    with artifact.locked(folder), artifact.locked(folder):  # readers do not wait for each other
        pass
    with artifact.locked(folder, alone=True):
        reader = threading.Thread(target=read)
        reader.start()
        assert entered.wait(60)
        assert not can_lock(folder)
        order.append("replaced")
    reader.join(60)
    assert order == ["replaced", "read"]
    assert can_lock(folder)


def can_lock(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_an_artifact_is_found_and_replaced_only_as_one(
    folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While `find` reads, nobody can have the folder alone."""
    locks: list[bool] = []
    verify = artifact.verify

    def watched(folder: Path, *rest: Any) -> Files:
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        locks.append(True)
        return verify(folder, *rest)

    monkeypatch.setattr(artifact, "verify", watched)
    artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))
    assert locks == [True]


def test_without_locks_it_is_read_all_the_same(folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    artifact.find(OnnxSettings(checkpoint=str(tiny), artifact=str(folder)))
