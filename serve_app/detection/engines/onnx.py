"""The exported graph on ONNX Runtime. Opened by `engines.open`, for OnnxDeployment and the export; imports no torch."""

import onnxruntime as ort

from serve_app.detection.engines.positions import PositionEmbeddings
from serve_app.detection.model import artifact
from serve_app.detection.spec import BOXES, LOGITS, EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError, UnreadableModel
from serve_app.settings import OnnxSettings


class OnnxDetector:
    """An inference session that gets the position embeddings of each image's patch grid as inputs."""

    def __init__(self, files: artifact.Files, manifest: artifact.Manifest, settings: OnnxSettings) -> None:
        """Load a verified artifact.

        Raises UnreadableModel for a file that is no graph, ConfigurationError when onnxruntime lacks a provider.
        """
        self._positions = PositionEmbeddings.load(files, manifest.spec)
        self._session = _open_session(files, settings)
        self.info = EngineInfo(
            engine="onnxruntime",
            device=self._session.get_providers()[0],
            precision=manifest.precision,
            threads=settings.threads,
            versions={"onnxruntime": ort.__version__, "opset": str(manifest.opset)},
        )

    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the graph on (batch, 3, height, width) pixels."""
        logits, boxes = self._session.run([LOGITS, BOXES], self._positions.feeds(pixels))
        return RawOutputs(logits, boxes)


def _open_session(files: artifact.Files, settings: OnnxSettings) -> ort.InferenceSession:
    missing = [name for name in settings.providers if name not in ort.get_available_providers()]
    if missing:
        raise ConfigurationError(
            f"providers: onnxruntime {ort.__version__} here has no {', '.join(missing)} "
            f"(name only {', '.join(ort.get_available_providers())})"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spinning)))
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not guessed from the content
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(files.model, options, providers=settings.providers)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise UnreadableModel(
            f"onnxruntime {ort.__version__} cannot load {files.folder / artifact.MODEL}: {error}"
        ) from error
    session.disable_fallback()
    session._model_bytes = None  # it would keep them for good, only for the fallback
    return session
