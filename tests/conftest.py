"""What several folders of tests share: one tiny checkpoint and its artifact, built when first asked for."""

from pathlib import Path

import pytest


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
