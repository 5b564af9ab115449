"""The comparison that ends an export, for each precision, on the demo checkpoint: what CI demands of the artifacts."""

from collections.abc import Callable

import pytest

from serve_app.detection.engines.open import ENGINES
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Precision
from tests.contract.conftest import Export, why_not

SCORE_BOUNDS: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.05}


@pytest.mark.parametrize("precision", SCORE_BOUNDS)
def test_the_demo_checkpoint_passes_in(precision: Precision, export_demo: Callable[[Precision], Export]) -> None:
    if missing := why_not(ENGINES[precision][0], precision):
        pytest.skip(missing)
    folder, manifest, said = export_demo(precision)
    assert manifest.parity is not None
    assert manifest.parity.detections >= manifest.parity.images == 12
    assert manifest.parity.score_deviation <= SCORE_BOUNDS[precision]
    assert manifest.parity.box_deviation <= SCORE_BOUNDS[precision]
    artifact.verify(folder, manifest, manifest.fingerprint, manifest.spec, "")
    assert (said[0].split()[0], said[-1].split()[0]) == ("tracing", "comparing")
