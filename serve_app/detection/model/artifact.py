"""The exported artifact as files: its manifest, and the checks before an engine may load it.

Written by the export, read by the ONNX backend. Needs neither torch, onnxruntime nor Ray.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.detection.model import checkpoint
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

    `images` and `detections` were compared, the latter above `threshold`. Deviations are the largest found: of a score,
    of a box edge relative to the image's side, and of a raw logit. `tolerance` is the bound that was asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    detections: int
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

    format: int = 1
    checkpoint: str
    fingerprint: str
    precision: Precision
    opset: int
    files: dict[str, str]
    spec: ModelSpec
    parity: Parity | None
    versions: dict[str, str]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as `sha256:` and hexadecimal digits."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def load_manifest(folder: Path, remedy: str) -> Manifest:
    """Read the manifest of `folder`.

    Raises ConfigurationError, ending in the `remedy`, when it is missing, damaged or of another version.
    """
    path = folder.absolute() / MANIFEST
    if not path.is_file():
        raise ConfigurationError(f"no artifact: {path} is missing; {remedy}")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"{path} is damaged or from another version ({'.'.join(map(str, first['loc']))}: {first['msg']}); {remedy}"
        ) from error


def verify(folder: Path, manifest: Manifest, expected_fingerprint: str, remedy: str) -> None:
    """Raise ConfigurationError, ending in the `remedy`, unless the artifact is whole and of the expected checkpoint.

    Whole means: written with this opset, compared with its checkpoint, and each file has the manifest's hash.
    """
    folder = folder.absolute()
    if manifest.fingerprint != expected_fingerprint:
        raise ConfigurationError(
            f"{folder} was exported from another checkpoint ({manifest.checkpoint}, {manifest.fingerprint[:19]}…; "
            f"expected {expected_fingerprint[:19]}…); {remedy}"
        )
    if manifest.opset != OPSET:
        raise ConfigurationError(f"{folder} was exported with opset {manifest.opset}, expected {OPSET}; {remedy}")
    if manifest.parity is None:
        raise ConfigurationError(f"{folder} never passed the export's comparison with its checkpoint; {remedy}")
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing; {remedy}")
        if file_hash(path) != expected:
            raise ConfigurationError(f"{path} is damaged: its hash is not the manifest's; {remedy}")


def find(settings: OnnxSettings) -> tuple[Path, Manifest]:
    """The absolute folder and the manifest of the verified artifact that `settings` name.

    Raises ConfigurationError with the command that exports it anew.
    """
    folder = Path(settings.artifact).absolute()
    revision = f" --revision {settings.revision}" if settings.revision else ""
    remedy = (
        f"run: python -m export --checkpoint {settings.checkpoint}{revision} --out {settings.artifact}, then change "
        "OnnxDeployment.user_config.reload"
    )
    manifest = load_manifest(folder, remedy)
    source = checkpoint.resolve(settings.checkpoint, settings.revision)
    spec = checkpoint.read_spec(source)
    verify(folder, manifest, checkpoint.fingerprint(source), remedy)
    if manifest.spec != spec:  # what an older version ignored in the same files
        raise ConfigurationError(f"{folder} was exported by a version that read its checkpoint otherwise; {remedy}")
    return folder, manifest
