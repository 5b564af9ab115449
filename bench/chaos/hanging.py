"""The shipped application whose engines can be told to hang while their replicas go on talking. Imported by Serve."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray.serve import Application

from bench.service import Overrides, Service
from serve_app import app as shipped
from serve_app import deployments
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import Detector, Pixels, RawOutputs
from serve_app.local.node import Node
from serve_app.settings import AppSettings

_FOLDER = "DETECT_AB_HANGING"


class _Hanging:
    """An engine that waits while its file exists."""

    def __init__(self, engine: Detector, file: Path) -> None:
        self.info, self._engine, self._file = engine.info, engine, file

    def infer(self, pixels: Pixels) -> RawOutputs:
        while self._file.exists():
            time.sleep(0.02)
        return self._engine.infer(pixels)


class TorchDeployment(deployments.TorchDeployment):
    """The shipped backend with such an engine."""

    def _pipeline_of(self, engine: Detector, *rest: Any) -> Pipeline:
        return super()._pipeline_of(_Hanging(engine, Path(os.environ[_FOLDER], "torch")), *rest)


class OnnxDeployment(deployments.OnnxDeployment):
    """The shipped backend with such an engine."""

    def _pipeline_of(self, engine: Detector, *rest: Any) -> Pipeline:
        return super()._pipeline_of(_Hanging(engine, Path(os.environ[_FOLDER], "onnx")), *rest)


def app(args: AppSettings) -> Application:
    """The shipped application with these backends."""
    with patch.multiple(shipped, TorchDeployment=TorchDeployment, OnnxDeployment=OnnxDeployment):
        return shipped.app(args)


class Hanging(Service):
    """That application on a node; `folder` holds a file for each engine that hangs."""

    import_path = "bench.chaos.hanging:app"

    def __init__(self, node: Node, folder: Path) -> None:
        super().__init__(node)
        self._folder = folder

    def config(self, overrides: Overrides) -> dict[str, Any]:
        """As shipped, with the folder named to the replicas."""
        config = super().config(overrides)
        config["applications"][0]["runtime_env"]["env_vars"][_FOLDER] = str(self._folder)
        return config

    @contextmanager
    def hang(self, backend: str) -> Iterator[None]:
        """Let that engine hang for the length of a `with` block."""
        file = self._folder / backend
        file.touch()
        try:
            yield
        finally:
            file.unlink()
