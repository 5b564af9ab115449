"""What several folders of tests share: one tiny checkpoint and its artifact, built when first asked for."""

import gc
from pathlib import Path

import pytest
from hypothesis import settings

from serve_app.local.modes import Mode

# A busy machine is no failure, and examples that passed pass again.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mode`: which front door the integration tests run behind."""
    parser.addoption("--mode", choices=list(Mode), default=Mode.simple, help="front door of the service under test")


def pytest_collection_finish() -> None:
    """What is imported stays: looking through all of it would stop a test with little time for most of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with mid position embeddings."""
    from tests import checkpoints  # imports torch, which most tests do without

    return checkpoints.make(tmp_path_factory.mktemp("checkpoints") / "tiny", mid=True)


@pytest.fixture(scope="session")
def tiny_artifact(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its fp32 artifact, as if it had passed the gate. Read-only: copy it to change it."""
    from tests import checkpoints

    return checkpoints.export(tiny, tmp_path_factory.mktemp("artifacts") / "tiny")
