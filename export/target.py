"""The folder that an artifact is written to, in place. Called by `export.write`.

Only the files of an earlier artifact are replaced; nothing else in the folder is touched. The folder itself is never
renamed: it may be a mounted volume, the working directory or behind a link.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serve_app.detection.model import artifact
from serve_app.errors import ConfigurationError, one_line

_WORK = ".export-"  # begins the name of the folder inside, in which an artifact is made
_FULL_DISK = 100_000  # bytes that are left
_ALLOWED = {"lost+found"}  # the root of a mounted file system has it
_NAMES = (artifact.POSITIONS, artifact.MODEL, artifact.MANIFEST)  # the manifest last: it vouches for the others
_REMEDY = "name another folder with --out"


def check(out: Path) -> None:
    """Raise ConfigurationError unless `out` can take an artifact without touching anything but an earlier one."""
    try:
        if out.is_symlink() and not out.exists():
            raise ConfigurationError(f"{out} is a link to {out.readlink()}, which does not exist; {_REMEDY}")
        if out.exists() and not out.is_dir():
            raise ConfigurationError(f"{out} is a file; --out names a folder")
        if out.is_dir():
            _check_files(out)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _check_files(out: Path) -> None:
    found = {path.name for path in out.iterdir() if path.name not in _ALLOWED and not path.name.startswith(_WORK)}
    if not found:
        return
    manifest = out / artifact.MANIFEST
    if artifact.MANIFEST not in found:
        raise ConfigurationError(
            f"{out} holds other files ({_some(found)}) and no artifact; choose an empty or new folder with --out"
        )
    listed = _listed(manifest)
    if listed is None:
        raise ConfigurationError(f"{manifest} is not an artifact's, so nothing in {out} is replaced; {_REMEDY}")
    if foreign := (found & {artifact.MODEL, artifact.POSITIONS}) - listed:
        raise ConfigurationError(f"{out / min(foreign)} is not of the artifact there; move it, or {_REMEDY}")
    for name in _NAMES:
        if (out / name).is_dir():
            raise ConfigurationError(f"{out / name} is a folder; move it, or {_REMEDY}")


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")


def _listed(manifest: Path) -> set[str] | None:
    """The files that an earlier export put there; None if the manifest is something else's. Its version may be old."""
    try:
        content = json.loads(manifest.read_bytes())
    except ValueError:
        return None
    if not isinstance(content, dict) or not {"checkpoint", "fingerprint", "opset", "spec"} <= content.keys():
        return None
    files = content.get("files")
    return set(files) if isinstance(files, dict) else None


@contextmanager
def workspace(out: Path, needed: int) -> Iterator[Path]:
    """A folder inside `out`, gone at the end; so are `out` and the folders above it, where they are new and empty.

    Raises ConfigurationError at once when `out` cannot be written or has less than `needed` bytes free, and for any
    error of the file system meanwhile.
    """
    new = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    work = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=out))
        free = shutil.disk_usage(work).free
        if free < needed:
            raise ConfigurationError(
                f"{out} has {free / 1e6:.0f} MB free, and the export takes about {needed / 1e6:.0f} MB; free some "
                f"space, or {_REMEDY}"
            )
        yield work
    except OSError as error:
        raise _cannot_write(out, error) from error
    except Exception as error:
        # onnx's C++ code writes half a file to a full disk without a word, and what reads it fails with anything
        if work and shutil.disk_usage(work).free < _FULL_DISK:
            raise _cannot_write(out, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
    finally:
        if work:
            shutil.rmtree(work, ignore_errors=True)
        for folder in new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def replace(work: Path, out: Path) -> None:
    """Move the new artifact from `work` to `out`, the manifest last. An error brings the earlier one back, whole.

    A replica that loads meanwhile waits: it gets the old artifact or the new one.
    """
    for name in _NAMES:
        _flush(work / name)
    aside = work / "earlier"
    aside.mkdir()
    with artifact.locked(out, alone=True):
        check(out)
        try:
            for name in reversed(_NAMES):
                if os.path.lexists(out / name):
                    (out / name).rename(aside / name)
            for name in _NAMES:
                (work / name).rename(out / name)
        except BaseException:
            _restore(aside, out, work)
            raise
    _flush(out)


def _restore(aside: Path, out: Path, work: Path) -> None:
    for name in _NAMES:
        if not os.path.lexists(work / name):  # it was moved
            (out / name).unlink()
        if os.path.lexists(aside / name):
            (aside / name).rename(out / name)


def _flush(path: Path) -> None:
    """Have it on the disk before the manifest is: a power failure must not leave the manifest alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if path.is_file():  # for a folder, some file systems refuse it
            raise
    finally:
        os.close(descriptor)


def _cannot_write(out: Path, error: OSError) -> ConfigurationError:
    reason = error.strerror or one_line(error)
    where = f" ({error.filename})" if error.filename and error.filename != str(out) else ""
    return ConfigurationError(f"cannot write an artifact to {out}: {reason}{where}; {_REMEDY}")
