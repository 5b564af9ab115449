"""The detector that every server beside ours runs: the same artifact and the same code as our ONNX backend.

Imported by the servers of this folder, each in its own environment; so it imports only what the ONNX backend needs.
"""

import os
from pathlib import Path
from typing import Any

from serve_app.detection.engines import threads
from serve_app.detection.model import artifact
from serve_app.detection.pipeline import Pipeline
from serve_app.schemas import DetectionResult, Options
from serve_app.settings import LimitSettings, OnnxSettings

PORTS = "DETECT_AB_BENCH_PORTS"
THREADS = "DETECT_AB_BENCH_THREADS"
ARTIFACT = "DETECT_AB_BENCH_ARTIFACT"
WORKERS = 2  # inferences at once in every server: ours and the bare one run them in one process
_TIMEOUT_S = 60.0


def port(number: int = 0) -> int:
    """Where to listen, on this machine only; further numbers are free ports for whatever else a server opens."""
    return int(os.environ[PORTS].split(",")[number])


class Detector:
    """Encoded image in, answer out. Safe for concurrent calls."""

    def __init__(self, inferences_at_once: int = 1) -> None:
        settings = OnnxSettings(artifact=os.environ[ARTIFACT], threads=int(os.environ[THREADS]))
        threads.reserve(settings.threads, settings.spinning)
        from serve_app.detection.engines.open import open_engine

        folder = Path(settings.artifact)
        remedy = "run: python -m export --if-stale"
        manifest = artifact.load_manifest(folder, remedy)
        engine = open_engine(artifact.read(folder, manifest, remedy), manifest, settings)
        self._pipeline = Pipeline(engine, manifest.spec, LimitSettings(), inferences_at_once=inferences_at_once)
        self._pipeline.warm_up()

    def detect(self, data: bytes) -> DetectionResult:
        """The detections of one encoded image."""
        return self._pipeline.detect(data, Options(), _TIMEOUT_S)

    def answer(self, data: bytes) -> dict[str, Any]:
        """The same as plain values."""
        return self.detect(data).model_dump(include={"image", "detections"})
