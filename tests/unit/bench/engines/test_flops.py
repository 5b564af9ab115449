"""Operations, counted without running the model."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.engines import flops, subjects
from bench.engines.flops import measured_peak, operations
from export.graph import load_model


@pytest.mark.parametrize("size", [(64, 96), (160, 48)])
def test_the_count_is_that_of_the_loaded_model(size: tuple[int, int], tiny: Path) -> None:
    model = load_model(tiny)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *size))
    assert operations(tiny, *size, pruned=False) == counter.get_total_flops()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subjects, "_SMALL", tmp_path / "small")
    return subjects.small().checkpoint


def test_yolos_small_on_a_large_photo_takes_a_third_of_a_teraflop(small: Path) -> None:
    assert operations(small, 800, 1056, pruned=False) == pytest.approx(358e9, rel=0.01)
    assert operations(small, 800, 1056, pruned=True) == pytest.approx(332.7e9, rel=0.001)


def test_the_exported_graph_saves_most_of_one_layer(small: Path) -> None:
    whole, pruned = (operations(small, 800, 1056, pruned=flag) for flag in (False, True))
    assert 0.06 < 1 - pruned / whole < 1 / 12


def test_the_peak_is_a_plausible_number_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "_SIDE", 128)
    assert 1e8 < measured_peak(1) < 1e14
