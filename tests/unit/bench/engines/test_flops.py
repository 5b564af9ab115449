"""Operations as PyTorch's own counter counts them."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.engines import flops
from bench.engines.flops import Shape, measured_peak, operations
from export.graph import load_model
from tests.checkpoints import LABELS, TOKENS

TINY = Shape(hidden=32, intermediate=64, layers=3, labels=len(LABELS), detection_tokens=TOKENS, patch=16)
SMALL = Shape(hidden=384, intermediate=1536, layers=12, labels=91, detection_tokens=100, patch=16)


@pytest.mark.parametrize("size", [(64, 96), (160, 48)])
def test_the_formula_is_what_torch_counts(size: tuple[int, int], tiny: Path) -> None:
    model = load_model(tiny)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *size))
    assert operations(TINY, *size, pruned=False) == counter.get_total_flops()


def test_yolos_small_on_a_large_photo_takes_a_third_of_a_teraflop() -> None:
    assert operations(SMALL, 800, 1056, pruned=False) == pytest.approx(358e9, rel=0.01)


def test_the_exported_graph_saves_most_of_one_layer() -> None:
    whole, pruned = (operations(SMALL, 800, 1056, pruned=flag) for flag in (False, True))
    assert 0.06 < 1 - pruned / whole < 1 / 12


def test_the_peak_is_a_plausible_number_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "_SIDE", 128)
    assert 1e8 < measured_peak(1) < 1e14
