"""Is the artifact in a folder the one an export would write? Cheap: reads hashes, needs neither torch nor onnx."""

from pathlib import Path

from serve_app.detection.model import artifact, checkpoint
from serve_app.errors import ConfigurationError


def is_current(
    out: Path, checkpoint_name: str, revision: str | None, precision: artifact.Precision | None = "fp32"
) -> bool:
    """Whether `out` holds an intact artifact of this checkpoint, in this precision, or in any (None).

    Raises ConfigurationError when the checkpoint itself cannot be read.
    """
    fingerprint = checkpoint.fingerprint(checkpoint.resolve(checkpoint_name, revision))
    try:
        manifest = artifact.load_manifest(out, "")
        artifact.verify(out, manifest, fingerprint, "")
    except ConfigurationError:
        return False
    return precision in (None, manifest.precision)
