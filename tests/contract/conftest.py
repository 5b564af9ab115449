"""Every engine and precision, on every kind of checkpoint: built once, asked the same questions."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from serve_app.detection.engines.open import ENGINES, open_engine
from serve_app.detection.engines.torch import TorchDetector
from serve_app.detection.model import artifact, checkpoint
from serve_app.detection.model.artifact import Precision
from serve_app.detection.spec import Detector, ModelSpec
from serve_app.errors import ConfigurationError
from serve_app.settings import DEFAULT_CHECKPOINT, Engine, OnnxSettings, TorchSettings
from tests import checkpoints

ROOT = Path(__file__).parents[2]
DEMO = ROOT / DEFAULT_CHECKPOINT
CANDIDATES = [(engine, precision) for precision, engines in ENGINES.items() for engine in engines]


class Model(NamedTuple):
    """A checkpoint and its fp32 artifact."""

    checkpoint: Path
    artifact: Path
    spec: ModelSpec


@pytest.fixture(scope="session")
def models(tiny: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Builds each model once, though pytest sets up its parameters many times."""

    @cache
    def build(name: str) -> Model:
        if name == "mid":
            return Model(tiny, tiny_artifact, checkpoint.read_spec(tiny))
        work = tmp_path_factory.mktemp(name)
        folder = DEMO if name == "demo" else checkpoints.make(work / "checkpoint", mid=False)
        return Model(folder, checkpoints.export(folder, work / "fp32"), checkpoint.read_spec(folder))

    return build


@pytest.fixture(scope="session", params=["plain", "mid", "demo"])
def model(request: pytest.FixtureRequest, models: Callable[[str], Model]) -> Model:
    """Without and with mid position embeddings, and the shipped checkpoint."""
    if request.param == "demo" and not (DEMO / "config.json").is_file():
        pytest.skip(f"no {DEFAULT_CHECKPOINT} here")
    return models(request.param)


@pytest.fixture(scope="session")
def torch_detector(model: Model) -> Detector:
    """The incumbent."""
    return TorchDetector(model.checkpoint, TorchSettings(threads=1))


@pytest.fixture(scope="session", params=CANDIDATES, ids="-".join)
def candidate(request: pytest.FixtureRequest, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """The other arm, in each engine and precision that this machine runs."""
    engine, precision = request.param
    return open_candidate(model, engine, precision, tmp_path_factory.mktemp("artifact"))


def open_candidate(model: Model, engine: Engine, precision: Precision, work: Path) -> Detector:
    folder = model.artifact
    if precision != "fp32":
        folder = checkpoints.as_precision(model.artifact, work / precision, precision)
    settings = OnnxSettings(threads=1, engine=engine, artifact=str(folder))
    try:
        return open_engine(folder, artifact.load_manifest(folder, ""), settings)
    except ConfigurationError as error:
        if "would emulate" in error.detail or "cannot be loaded" in error.detail:
            pytest.skip(error.detail)
        raise


@pytest.fixture(scope="session", params=["torch", *("-".join(pair) for pair in CANDIDATES)])
def detector(
    request: pytest.FixtureRequest, model: Model, torch_detector: Detector, tmp_path_factory: pytest.TempPathFactory
) -> Detector:
    """Any arm."""
    if request.param == "torch":
        return torch_detector
    engine, precision = CANDIDATES[["-".join(pair) for pair in CANDIDATES].index(request.param)]
    return open_candidate(model, engine, precision, tmp_path_factory.mktemp("artifact"))
