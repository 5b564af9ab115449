"""The folder of the artifact: what is the user's stays, an artifact comes as a whole, and an error changes nothing."""

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from export import target
from serve_app.detection.model import artifact
from serve_app.errors import ConfigurationError
from tests.checkpoints import save

NAMES = {artifact.MODEL, artifact.POSITIONS, artifact.MANIFEST}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def fill(folder: Path, source: Path, version: str) -> None:
    """The artifact in `source`, told apart by its checkpoint's name and its model."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(source / artifact.POSITIONS, folder / artifact.POSITIONS)
    (folder / artifact.MODEL).write_text(version)
    manifest = artifact.load_manifest(source, "")
    files = manifest.files | {artifact.MODEL: artifact.file_hash(folder / artifact.MODEL)}
    save(folder, manifest.model_copy(update={"checkpoint": version, "files": files}))


def put(out: Path, source: Path, version: str, needed: int = 1, meanwhile: Callable[[], object] = lambda: None) -> None:
    """What an export does with the folder. `meanwhile` is called before the new artifact is moved there."""
    target.check(out)
    with target.workspace(out, needed) as work:
        fill(work, source, version)
        meanwhile()
        target.replace(work, out)


def fail(error: BaseException) -> Callable[[], object]:
    def raised() -> None:
        raise error

    return raised


def version_in(folder: Path) -> str:
    manifest = artifact.load_manifest(folder, "")
    files = artifact.read(folder, manifest, "")
    assert files.model.decode() == manifest.checkpoint
    return manifest.checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_artifact_is_replaced_and_what_lies_beside_it_stays(out: Path, tiny_artifact: Path) -> None:
    put(out, tiny_artifact, "one")
    (out / "notes").mkdir()
    (out / "notes" / "thesis.tex").write_text("precious")
    (out / "README.md").write_text("ours")
    put(out, tiny_artifact, "two")
    assert version_in(out) == "two"
    assert contents(out).keys() == NAMES | {"notes/thesis.tex", "README.md"}
    assert (out / "notes" / "thesis.tex").read_text() == "precious"


WEB_APP = json.dumps({"name": "My web app", "start_url": "/"})
IMAGE = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:1"}, "layers": []})


@pytest.mark.parametrize(("files", "words"), [
    ({"thesis.tex": "precious"}, r"out holds other files \(thesis.tex\) and no artifact"),
    (dict.fromkeys("edcba", ""), r"out holds other files \(a, b, c, …\)"),
    ({"manifest.json": WEB_APP, "thesis.tex": "precious"}, r"out/manifest.json is not an artifact's, so nothing in"),
    ({"manifest.json": IMAGE}, "out/manifest.json is not an artifact's"),
    ({"manifest.json": "{"}, "out/manifest.json is not an artifact's"),
    ({"manifest.json": "[1]"}, "out/manifest.json is not an artifact's"),
    ({"model.onnx": "mine"}, r"out holds other files \(model.onnx\)"),
])  # fmt: skip
def test_a_folder_of_something_else_is_refused_by_name(
    files: dict[str, str], words: str, out: Path, tiny_artifact: Path
) -> None:
    out.mkdir()
    for name, content in files.items():
        (out / name).write_text(content)
    before = contents(out)
    with pytest.raises(ConfigurationError, match=words) as caught:
        put(out, tiny_artifact, "one")
    assert "--out" in caught.value.detail
    assert contents(out) == before


def test_a_model_that_the_manifest_does_not_list_is_the_users(out: Path, tiny_artifact: Path) -> None:
    put(out, tiny_artifact, "one")
    manifest = artifact.load_manifest(out, "")
    save(out, manifest.model_copy(update={"files": {artifact.POSITIONS: manifest.files[artifact.POSITIONS]}}))
    with pytest.raises(ConfigurationError, match=r"out/model.onnx is not of the artifact there; move it"):
        put(out, tiny_artifact, "two")
    assert (out / artifact.MODEL).read_text() == "one"


def test_no_other_name_is_touched_whatever_the_manifest_lists(out: Path, tiny_artifact: Path) -> None:
    put(out, tiny_artifact, "one")
    manifest = artifact.load_manifest(out, "")
    (out / "thesis.tex").write_text("precious")
    (out.parent / "outside").write_text("precious")
    save(out, manifest.model_copy(update={"files": manifest.files | {"thesis.tex": "", "../outside": ""}}))
    put(out, tiny_artifact, "two")
    assert version_in(out) == "two"
    assert (out / "thesis.tex").read_text() == (out.parent / "outside").read_text() == "precious"


def test_an_artifact_of_an_older_version_is_known(out: Path, tiny_artifact: Path) -> None:
    put(out, tiny_artifact, "one")
    path = out / artifact.MANIFEST
    old = json.loads(path.read_text())
    del old["precision"], old["parity"], old["format"]
    path.write_text(json.dumps(old))
    put(out, tiny_artifact, "two")
    assert version_in(out) == "two"


def test_a_folder_in_the_place_of_a_file_is_named(out: Path, tiny_artifact: Path) -> None:
    put(out, tiny_artifact, "one")
    (out / artifact.MODEL).unlink()
    (out / artifact.MODEL).mkdir()
    (out / artifact.MODEL / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigurationError, match=r"out/model.onnx is a folder; move it"):
        put(out, tiny_artifact, "two")
    assert (out / artifact.MODEL / "thesis.tex").read_text() == "precious"


def test_what_a_new_volume_and_a_killed_export_leave_is_in_nobodys_way(out: Path, tiny_artifact: Path) -> None:
    (out / "lost+found").mkdir(parents=True)
    (out / ".export-killed").mkdir()
    put(out, tiny_artifact, "one")
    assert version_in(out) == "one"
    assert {path.name for path in out.iterdir()} == NAMES | {"lost+found", ".export-killed"}


def test_a_link_is_written_through(out: Path, tiny_artifact: Path) -> None:
    (out.parent / "v1").mkdir()
    out.symlink_to("v1")
    put(out, tiny_artifact, "one")
    assert out.is_symlink()
    assert version_in(out.parent / "v1") == "one"
    assert {path.name for path in out.parent.iterdir()} == {"v1", "out"}


@pytest.mark.parametrize("to", ["nowhere", "out"])
def test_a_link_to_nowhere_is_named(to: str, out: Path, tiny_artifact: Path) -> None:
    out.symlink_to(to)
    with pytest.raises(ConfigurationError, match=f"out is a link to {to}, which does not exist; name another folder"):
        put(out, tiny_artifact, "one")
    assert out.readlink() == Path(to)


def test_the_working_directory_is_written_in_place(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir()
    monkeypatch.chdir(out)
    inode = out.stat().st_ino
    put(Path().absolute(), tiny_artifact, "one")
    assert version_in(Path()) == "one"
    assert out.stat().st_ino == inode, "a mounted volume cannot be renamed, so no folder is"


@pytest.mark.parametrize("name", ["x" * 300, "file/artifact", "link/artifact"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(name: str, out: Path, tiny_artifact: Path) -> None:
    (out.parent / "file").touch()
    (out.parent / "link").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match=r"cannot write an artifact to .*; name another folder with --out"):
        put(out.parent / name, tiny_artifact, "one")
    assert {path.name for path in out.parent.iterdir()} == {"file", "link"}


def test_a_folder_that_takes_no_file_is_named_before_the_work(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(out / ".export-1"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(ConfigurationError, match=r"to .*/out: Read-only file system \(.*\.export-1\); name another"):
        put(out, tiny_artifact, "one")
    assert not out.exists()


def test_a_disk_without_room_is_named_before_the_work(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9e6, 5e6, 4e6))
    monkeypatch.setattr(target, "replace", lambda *_: pytest.fail("the work was done"))
    words = "down has 4 MB free, and the export takes about 7 MB; free some space"
    with pytest.raises(ConfigurationError, match=words):
        put(out / "deep" / "down", tiny_artifact, "one", needed=7_000_000)
    assert not out.exists()


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "deep: No space left on device; name another folder"),
    (OSError("3 requested and 1 written"), "deep: 3 requested and 1 written; name"),  # numpy's words for it
])  # fmt: skip
def test_a_disk_that_fills_up_is_named_and_nothing_is_left(
    error: OSError, words: str, out: Path, tiny_artifact: Path
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        put(out / "deep", tiny_artifact, "one", meanwhile=fail(error))
    assert not out.exists()


def test_an_error_on_a_disk_that_is_full_is_told_as_that(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    free = iter([9e6, 4096])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9e6, 9e6, next(free)))
    with pytest.raises(ConfigurationError, match="No space left on device; name another folder"):
        put(out, tiny_artifact, "one", meanwhile=fail(ValueError("Wire format was corrupt")))
    assert not out.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), RuntimeError()], ids=repr)
def test_whatever_ends_the_work_leaves_the_folder_as_it_was(
    error: BaseException, out: Path, tiny_artifact: Path
) -> None:
    put(out, tiny_artifact, "one")
    before = contents(out)
    with pytest.raises(type(error)):
        put(out, tiny_artifact, "two", meanwhile=fail(error))
    assert contents(out) == before
    assert [path.name for path in out.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("earlier", "step"), [*((True, step) for step in range(6)), *((False, step) for step in range(3))]
)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["disk", "user"])
def test_an_error_at_any_step_of_the_exchange_brings_the_earlier_one_back(
    earlier: bool, step: int, error: BaseException, out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        put(out, tiny_artifact, "one")
    rename, left = Path.rename, [step]

    def failing(path: Path, to: Path) -> Path:
        left[0] -= 1
        if left[0] == -1:
            raise error
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((ConfigurationError, KeyboardInterrupt)):
        put(out, tiny_artifact, "two")
    assert out.exists() is earlier
    if earlier:
        assert version_in(out) == "one"
        assert contents(out).keys() == NAMES


def test_at_no_step_does_a_manifest_stand_over_files_that_are_not_its_own(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(out, tiny_artifact, "one")
    rename, seen = Path.rename, []

    def watched(path: Path, to: Path) -> Path:
        folder = os.open(out, os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # who loads waits meanwhile
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(folder)
        moved = rename(path, to)
        if (out / artifact.MANIFEST).exists():
            seen.append(version_in(out))
        return moved

    monkeypatch.setattr(Path, "rename", watched)
    put(out, tiny_artifact, "two")
    assert seen == ["two"]


def test_what_appears_in_the_folder_during_the_work_is_not_overwritten(out: Path, tiny_artifact: Path) -> None:
    with pytest.raises(ConfigurationError, match="out holds other files"):
        put(out, tiny_artifact, "one", meanwhile=lambda: (out / artifact.MODEL).write_text("mine"))
    assert contents(out) == {artifact.MODEL: b"mine"}


def test_the_files_are_on_the_disk_before_the_exchange(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        flushed.append(path.name)
        if path.is_dir():
            raise OSError(errno.EINVAL, "no fsync of a folder here")
        assert not (out / artifact.MANIFEST).exists()

    monkeypatch.setattr(os, "fsync", fsync)
    put(out, tiny_artifact, "one")
    assert flushed == [artifact.POSITIONS, artifact.MODEL, artifact.MANIFEST, "out"]


def test_a_disk_that_does_not_take_the_files_is_named(
    out: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ConfigurationError, match="Input/output error"):
        put(out, tiny_artifact, "one")
    assert not out.exists()
