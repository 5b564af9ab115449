"""What several folders of tests share: one tiny checkpoint, its artifact, and a summary of the tests left out."""

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from serve_app.local.modes import Mode

# No time limit: a busy machine is not a failure. The same examples in every run: what passed once passes again.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mode`: the HTTP front end that the integration tests run behind."""
    parser.addoption("--mode", choices=list(Mode), default=Mode.simple, help="HTTP front end of the service under test")


def pytest_collection_finish() -> None:
    """Keep imported modules out of garbage collection: one pass over them stops a test for most of a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """At the very end, say how many tests were left out, why, and the command that brings them."""
    yield
    skipped = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in skipped.most_common():
        text = reason.removeprefix("Skipped: ")
        remedy = "; pip install -e '.[dev]'" if text.startswith("could not import") else ""
        terminalreporter.write_line(f"{count} left out: {text}{remedy}")


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
