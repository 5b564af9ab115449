"""Whether a folder already holds the artifact that an export would write. Called by `export.__main__` and `write`.

Compares hashes only; needs neither torch nor onnx.
"""

from pathlib import Path

from serve_app.detection.model import artifact, checkpoint
from serve_app.errors import ConfigurationError


def is_current(
    out: Path, checkpoint_name: str, revision: str | None, precision: artifact.Precision | None = "fp32"
) -> bool:
    """Whether `out` holds an intact artifact of this checkpoint in this precision; None stands for any precision.

    Raises ConfigurationError when the checkpoint itself cannot be read.
    """
    source = checkpoint.resolve(checkpoint_name, revision)
    spec, fingerprint = checkpoint.read_spec(source), checkpoint.fingerprint(source)
    try:
        manifest = artifact.load_manifest(out, "")
        artifact.verify(out, manifest, fingerprint, "")
    except ConfigurationError:
        return False
    return manifest.spec == spec and precision in (None, manifest.precision)
