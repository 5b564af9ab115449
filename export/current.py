"""Whether a folder already holds the artifact that an export would write. Called by `export.__main__`.

Compares hashes only; needs neither torch nor onnx.
"""

from export.request import Request
from serve_app.detection.model import artifact, checkpoint
from serve_app.errors import ConfigurationError


def is_current(request: Request) -> bool:
    """Whether `out` holds an intact artifact of this checkpoint and precision that is within the tolerance.

    Raises ConfigurationError when the checkpoint itself cannot be read.
    """
    source = checkpoint.resolve(request.checkpoint, request.revision)
    spec, fingerprint = checkpoint.read_spec(source), checkpoint.fingerprint(source)
    try:
        with artifact.locked(request.out):
            manifest = artifact.load_manifest(request.out, "")
            artifact.verify(request.out, manifest, fingerprint, spec, "")
    except ConfigurationError:
        return False
    found = manifest.parity
    within = found is not None and max(found.score_deviation, found.box_deviation) <= request.tolerance
    return within and manifest.precision == request.precision
