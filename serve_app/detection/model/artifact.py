"""The exported artifact as files: its manifest, and the checks before an engine may load it.

Written by the export, read by the ONNX backend. Needs neither torch, onnxruntime nor Ray.
"""

import fcntl
import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.detection.model import checkpoint
from serve_app.detection.model.onnx_file import external_files
from serve_app.detection.spec import ModelSpec
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings

MODEL = "model.onnx"
POSITIONS = "position_embeddings.npz"
MANIFEST = "manifest.json"
OPSET = 20  # the first opset that has the Gelu operator
Precision = Literal["fp32", "bf16", "int8"]


class Parity(BaseModel):
    """How far the artifact's detections deviated from the checkpoint's in the export's comparison.

    `images` and `detections` were compared, the latter above `threshold`; where there were few, also the raw outputs
    of as many `queries`, one by one. Deviations are the largest found: of a score, of a box edge relative to the
    image's side, and of a raw logit. `tolerance` is the bound that was asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    detections: int
    queries: int = 0
    threshold: float
    score_deviation: float
    box_deviation: float
    logit_deviation: float
    tolerance: float


class Manifest(BaseModel):
    """What an artifact is: the checkpoint and the tools that it was made from, and the hash of each file.

    `parity` is None only during an export, until the comparison with the checkpoint has passed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    checkpoint: str
    fingerprint: str
    precision: Precision
    opset: int
    files: dict[str, str]
    spec: ModelSpec
    parity: Parity | None
    versions: dict[str, str]


class Files(NamedTuple):
    """The content of an artifact's files. Engines load these bytes and open no file, so what was hashed is what runs.

    `folder` is where they came from, for messages.
    """

    folder: Path
    model: bytes
    positions: bytes


def file_hash(path: Path) -> str:
    """What a manifest says of the file at `path`."""
    return _hash(path.read_bytes())


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def locked(folder: Path, alone: bool = False) -> Iterator[None]:
    """Keep the files of `folder` as they are meanwhile: who reads them shares the lock, who replaces them is `alone`.

    Without effect where the folder or the file system knows no lock.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def load_manifest(folder: Path, remedy: str) -> Manifest:
    """Read the manifest of `folder`.

    Raises ConfigurationError, ending in the `remedy`, when it is missing, damaged or of another version.
    """
    path = folder.absolute() / MANIFEST
    try:
        return Manifest.model_validate_json(_content(path, f"no artifact: {path} is missing; {remedy}", remedy))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"{path} is damaged or from another version ({'.'.join(map(str, first['loc']))}: {first['msg']}); {remedy}"
        ) from error


def read(folder: Path, manifest: Manifest, remedy: str) -> Files:
    """Read the artifact's files, each once.

    Raises ConfigurationError, ending in the `remedy`, unless the manifest lists these files and no others, they lie in
    the folder, each has the manifest's hash, and the graph names no further file.
    """
    folder = folder.absolute()
    expected = {MODEL, POSITIONS}
    for name in sorted(expected ^ manifest.files.keys()):
        fault = f"lists no {name}" if name in expected else f"lists {name!r}, which is no file of an artifact"
        raise ConfigurationError(f"{folder / MANIFEST} {fault}; {remedy}")
    contents = {}
    for name in sorted(expected):
        path = folder / name
        contents[name] = _content(path, f"{path} is missing; {remedy}", remedy)
        if _hash(contents[name]) != manifest.files[name]:
            raise ConfigurationError(f"{path} is damaged: its hash is not the manifest's; {remedy}")
    if outside := external_files(contents[MODEL]):
        raise ConfigurationError(
            f"{folder / MODEL} keeps weights in {', '.join(sorted(outside))}, which its manifest does not cover; "
            f"{remedy}"
        )
    return Files(folder, contents[MODEL], contents[POSITIONS])


def _content(path: Path, missing: str, remedy: str) -> bytes:
    try:
        if not path.is_file():
            raise ConfigurationError(missing)
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise ConfigurationError(f"{path} is a link to {path.resolve()}, outside of its folder; {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; {remedy}") from error


def verify(folder: Path, manifest: Manifest, expected_fingerprint: str, expected_spec: ModelSpec, remedy: str) -> Files:
    """Read the artifact's files, if it is whole and of the expected checkpoint, read as it is read today.

    Raises ConfigurationError, ending in the `remedy`, for another checkpoint or opset, for an artifact that was never
    compared with its checkpoint or that an older version made of the same files, and as `read` does.
    """
    folder = folder.absolute()
    if manifest.fingerprint != expected_fingerprint:
        raise ConfigurationError(
            f"{folder} was exported from another checkpoint ({manifest.checkpoint}, {manifest.fingerprint[:19]}…; "
            f"expected {expected_fingerprint[:19]}…); {remedy}"
        )
    if manifest.opset != OPSET:
        raise ConfigurationError(f"{folder} was exported with opset {manifest.opset}, expected {OPSET}; {remedy}")
    if not _compared(manifest):
        raise ConfigurationError(f"{folder} never passed the export's comparison with its checkpoint; {remedy}")
    files = read(folder, manifest, remedy)
    if manifest.spec != expected_spec:  # what an older version ignored in the same files
        raise ConfigurationError(f"{folder} was exported by a version that read its checkpoint otherwise; {remedy}")
    return files


def _compared(manifest: Manifest) -> bool:
    """Whether numbers were compared: detections, queries, or all raw outputs, as always in fp32."""
    parity = manifest.parity
    if parity is None or not all(map(math.isfinite, parity.model_dump().values())):
        return False
    return manifest.precision == "fp32" or parity.detections + parity.queries > 0


def find(settings: OnnxSettings) -> tuple[Files, Manifest]:
    """The content and the manifest of the verified artifact that `settings` name; both of one export.

    Raises ConfigurationError with the command that exports it anew.
    """
    folder = Path(settings.artifact).absolute()
    revision = f" --revision {settings.revision}" if settings.revision else ""
    remedy = (
        f"run: python -m export --checkpoint {settings.checkpoint}{revision} --out {settings.artifact}, then change "
        "OnnxDeployment.user_config.reload"
    )
    with locked(folder):
        manifest = load_manifest(folder, remedy)
        source = checkpoint.resolve(settings.checkpoint, settings.revision)
        spec = checkpoint.read_spec(source)
        return verify(folder, manifest, checkpoint.fingerprint(source), spec, remedy), manifest
