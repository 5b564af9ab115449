"""Every engine and precision that this machine runs, on every kind of checkpoint; each is built once."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from export.request import Request
from export.write import write
from serve_app.detection.engines import cpu
from serve_app.detection.engines.open import ENGINES, open_engine
from serve_app.detection.engines.torch import TorchDetector
from serve_app.detection.model import artifact, checkpoint
from serve_app.detection.model.artifact import Manifest, Precision
from serve_app.detection.spec import Detector, ModelSpec
from serve_app.errors import ConfigurationError
from serve_app.settings import DEFAULT_CHECKPOINT, Engine, OnnxSettings, TorchSettings
from tests import checkpoints

DEMO = Path(__file__).parents[2] / DEFAULT_CHECKPOINT


def why_not(engine: Engine, precision: Precision) -> str | None:
    """What this machine lacks to run an artifact of `precision` on `engine`, and what brings it; None if nothing."""
    if find_spec(engine) is None:
        return f"{engine} is not installed; run: .venv/bin/pip install -c constraints.txt -e '.[dev]'"
    try:
        cpu.require(precision)
    except ConfigurationError as error:
        return f"{error.detail.partition(';')[0]}; run the tests on a machine whose CPU has one of them"
    return None


CANDIDATES = [(engine, precision) for precision, engines in ENGINES.items() for engine in engines]
RUN_HERE = [pair for pair in CANDIDATES if why_not(*pair) is None]
DETECTORS: list[tuple[Engine, Precision] | None] = [None, *RUN_HERE]  # None is PyTorch


def name_of(pair: tuple[Engine, Precision] | None) -> str:
    return "-".join(pair) if pair else "torch"


class Model(NamedTuple):
    """A checkpoint and its fp32 artifact."""

    name: str
    checkpoint: Path
    artifact: Path
    spec: ModelSpec


class Export(NamedTuple):
    """What an export of the demo checkpoint left: the artifact's folder, its manifest, and the lines it printed."""

    folder: Path
    manifest: Manifest
    said: list[str]


@pytest.fixture(scope="session")
def export_demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Precision], Export]:
    """Exports the demo checkpoint, once for each precision."""

    @cache
    def export(precision: Precision) -> Export:
        said: list[str] = []
        out = tmp_path_factory.mktemp("demo") / precision
        manifest = write(Request(str(DEMO), None, out, None, 0.05, precision), said.append)
        return Export(out, manifest, said)

    return export


@pytest.fixture(scope="session")
def models(
    tiny: Path,
    tiny_artifact: Path,
    export_demo: Callable[[Precision], Export],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Model]:
    """Builds each model once, though pytest sets up its parameters many times."""

    @cache
    def build(name: str) -> Model:
        if name == "mid":
            return Model(name, tiny, tiny_artifact, checkpoint.read_spec(tiny))
        if name == "demo":
            return Model(name, DEMO, export_demo("fp32").folder, checkpoint.read_spec(DEMO))
        work = tmp_path_factory.mktemp(name)
        folder = checkpoints.make(work / "checkpoint", mid=False)
        return Model(name, folder, checkpoints.export(folder, work / "fp32"), checkpoint.read_spec(folder))

    return build


@pytest.fixture(scope="session", params=["plain", "mid", "demo"])
def model(request: pytest.FixtureRequest, models: Callable[[str], Model]) -> Model:
    """Without and with position embeddings between the layers, and the demo checkpoint."""
    return models(request.param)


Open = Callable[[Model, tuple[Engine, Precision] | None], Detector]


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory, models: Callable[[str], Model]) -> Open:
    """Opens each detector of each model once."""

    @cache
    def open_once(name: str, pair: tuple[Engine, Precision] | None) -> Detector:
        model = models(name)
        if pair is None:
            return TorchDetector(model.checkpoint, TorchSettings(threads=1))
        engine, precision = pair
        folder = model.artifact
        if precision != "fp32":
            folder = checkpoints.as_precision(folder, tmp_path_factory.mktemp(name) / precision, precision)
        settings = OnnxSettings(threads=1, engine=engine, artifact=str(folder))
        manifest = artifact.load_manifest(folder, "")
        return open_engine(artifact.read(folder, manifest, ""), manifest, settings)

    return lambda model, pair: open_once(model.name, pair)


@pytest.fixture(scope="session")
def torch_detector(model: Model, opened: Open) -> Detector:
    """The reference."""
    return opened(model, None)


@pytest.fixture(scope="session", params=RUN_HERE, ids=name_of)
def candidate(request: pytest.FixtureRequest, model: Model, opened: Open) -> Detector:
    """A detector of the ONNX backend."""
    return opened(model, request.param)


@pytest.fixture(scope="session", params=DETECTORS, ids=name_of)
def detector(request: pytest.FixtureRequest, model: Model, opened: Open) -> Detector:
    """A detector of either backend."""
    return opened(model, request.param)
