"""Opens an artifact with the engine named in the settings. Called by OnnxDeployment and the export.

Refuses a precision that the engine or this CPU cannot run at full speed.
"""

from serve_app.detection.engines import cpu
from serve_app.detection.model.artifact import Files, Manifest, Precision
from serve_app.detection.spec import Detector
from serve_app.errors import ConfigurationError
from serve_app.settings import Engine, OnnxSettings

# The engines on which a precision is faster than fp32. ONNX Runtime has no bf16 arithmetic on CPUs, and OpenVINO no
# fast kernels for a dynamically quantised graph (docs/performance.md).
ENGINES: dict[Precision, tuple[Engine, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "bf16": ("openvino",),
    "int8": ("onnxruntime",),
}


def open_engine(files: Files, manifest: Manifest, settings: OnnxSettings) -> Detector:
    """Load an artifact whose files were checked against its manifest.

    Raises ConfigurationError when the engine, the precision or the CPU does not fit, UnreadableModel when the engine
    cannot read the graph.
    """
    able = ENGINES[manifest.precision]
    if settings.engine not in able:
        raise ConfigurationError(
            f"engine {settings.engine} does not run {manifest.precision} artifacts; set engine: "
            f"{' or '.join(able)}, or export {settings.artifact} with another --precision"
        )
    if settings.engine == "openvino" or settings.providers == ["CPUExecutionProvider"]:
        cpu.require(manifest.precision)
    if settings.engine == "openvino":
        return _open_openvino(files, manifest, settings)
    from serve_app.detection.engines.onnx import OnnxDetector  # only here: one engine's library per process

    return OnnxDetector(files, manifest, settings)


def _open_openvino(files: Files, manifest: Manifest, settings: OnnxSettings) -> Detector:
    try:
        from serve_app.detection.engines.openvino import OpenVinoDetector
    except ImportError as error:
        raise ConfigurationError(
            f"engine openvino cannot be loaded ({error}); run: pip install 'detect-ab[openvino]'"
        ) from error
    return OpenVinoDetector(files, manifest, settings)
