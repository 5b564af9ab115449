"""The training loop's schedules, and that twenty steps on few pictures lower the loss."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.small import small_config
from training.checkpoint import new_model
from training.drawn_bank import build_drawn_banks
from training.progress import Average
from training.samples import Pool
from training.trainer import Plan, Trainer


def test_rate_warms_up_stays_and_falls() -> None:
    plan = Plan(steps=10_000, peak_rate=1.0)
    assert plan.rate(0) < 0.01
    assert plan.rate(3_000) == 1.0
    assert 0.4 < plan.rate(8_000) < 0.6
    assert plan.rate(10_000) == pytest.approx(0.01)


def test_resolution_grows_and_duplicates_go_in_the_end() -> None:
    plan = Plan(steps=100, sides=((0.4, 128), (0.8, 160), (1.0, 224)), repeats=((0.3, 3), (1.0, 1)))
    assert [plan.short_side(step) for step in (0, 50, 99, 100)] == [128, 160, 224, 224]
    assert [plan.matches(step) for step in (0, 29, 30, 100)] == [3, 3, 1, 1]


def test_the_average_follows_the_weights() -> None:
    layer = torch.nn.Linear(2, 2)
    average = Average(layer)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    for step in range(200):
        average.update(layer, step)
    assert torch.allclose(average.weights["weight"], torch.ones(2, 2), atol=1e-3)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(None, *build_drawn_banks(tmp_path / "drawn.bin", tmp_path / "backdrops.bin", 16, 0, 1))


def small(tmp_path: Path, steps: int) -> Trainer:
    torch.manual_seed(0)
    plan = Plan(steps=steps, batch_size=4, peak_rate=3e-3, sides=((1.0, 96),), save_every_s=1e9)
    return Trainer(new_model(small_config()), plan, tmp_path / "progress.pt")


def test_twenty_steps_lower_the_loss(tmp_path: Path, pool: Pool) -> None:
    losses = list(small(tmp_path, 20).run(pool, 0, lambda _: None))
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = small(tmp_path / "whole", 6)
    expected = list(whole.run(pool, 0, lambda _: None))
    first = small(tmp_path / "broken", 6)
    first.plan = first.plan._replace(save_every_s=0)
    run = first.run(pool, 0, lambda _: None)
    before = [next(run) for _ in range(3)]
    run.close()
    second = small(tmp_path / "broken", 6)
    assert second.step == 3
    after = list(second.run(pool, 0, lambda _: None))
    assert before + after == pytest.approx(expected, rel=1e-3)
    assert second.averaged().config.num_labels == 8
