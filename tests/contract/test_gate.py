"""The export's own gate, for each precision, on the shipped checkpoint: what CI holds the artifacts to."""

from pathlib import Path

import pytest

from export.request import Request
from export.write import write
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Precision
from serve_app.errors import ConfigurationError
from tests.contract.conftest import DEMO, ROOT

SCORE_BOUNDS: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.05}


@pytest.mark.skipif(not (DEMO / "config.json").is_file(), reason="no demo checkpoint here")
@pytest.mark.parametrize("precision", SCORE_BOUNDS)
def test_the_demo_checkpoint_passes_in(precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    request = Request(str(DEMO), None, tmp_path / "out", None, 0.05, precision)
    try:
        manifest = write(request, say=lambda _: None)
    except ConfigurationError as error:
        if "would emulate" in error.detail or "cannot be loaded" in error.detail:
            pytest.skip(error.detail)
        raise
    assert manifest.parity is not None
    assert manifest.parity.detections >= manifest.parity.images == 12
    assert manifest.parity.score_deviation <= SCORE_BOUNDS[precision]
    assert manifest.parity.box_deviation <= SCORE_BOUNDS[precision]
    artifact.verify(tmp_path / "out", manifest, manifest.fingerprint, "")
