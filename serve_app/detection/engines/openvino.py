"""The exported graph on OpenVINO, in fp32 or bf16. Opened by `engines.open`; imports no torch."""

import numpy as np
import openvino as ov

from serve_app.detection.engines.positions import PositionEmbeddings
from serve_app.detection.model import artifact
from serve_app.detection.spec import BOXES, LOGITS, EngineInfo, Pixels, RawOutputs
from serve_app.errors import UnreadableModel
from serve_app.settings import OnnxSettings

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoDetector:
    """A compiled model that gets the position embeddings of each image's patch grid as inputs."""

    def __init__(self, files: artifact.Files, manifest: artifact.Manifest, settings: OnnxSettings) -> None:
        """Load a verified artifact. Raises UnreadableModel when OpenVINO cannot compile it."""
        self._positions = PositionEmbeddings.load(files, manifest.spec)
        self._request = _compile(files, manifest.precision, settings).create_infer_request()
        self.info = EngineInfo(
            engine="openvino",
            device="CPU",
            precision=manifest.precision,
            threads=settings.threads,
            versions={"openvino": ov.__version__.split("-")[0], "opset": str(manifest.opset)},
        )

    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the graph on (batch, 3, height, width) pixels."""
        outputs = self._request.infer(self._positions.feeds(pixels), share_inputs=True)
        return RawOutputs(*(np.asarray(outputs[name], np.float32) for name in (LOGITS, BOXES)))


def _compile(files: artifact.Files, precision: str, settings: OnnxSettings) -> ov.CompiledModel:
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": settings.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the cores are shared with the other backend
    }
    try:
        core = ov.Core()
        return core.compile_model(core.read_model(files.model, b""), "CPU", options)
    except Exception as error:  # OpenVINO does not document what it raises
        first_line = str(error).strip().splitlines()[0]
        raise UnreadableModel(
            f"openvino {ov.__version__} cannot load {files.folder / artifact.MODEL}: {first_line}"
        ) from error
