"""A short round of `python -m bench.scaling`, with a node of its own: it measures something and leaves nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = pytest.mark.integration


def test_a_quick_round_measures_every_part(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "bench.scaling", "--quick", "--mode", "simple", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            _, error = run.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            run.terminate()  # it ends its node, which lives in a session of its own
            raise
    assert run.returncode == 0, error
    (measured,) = json.loads((tmp_path / "scaling.json").read_text())["measured"]
    for window in measured["scaling"] + measured["ceiling"]:
        assert window["answered"] > 0
        assert window["failed"] == {}
        assert window["cpu"]["router"] > 0
    few, many = measured["at_rest"]
    assert many["page_series"] > few["page_series"] > 0
    assert "Computed" in (tmp_path / "scaling.md").read_text()
    assert (tmp_path / "scaling.png").stat().st_size > 0
