"""Position embeddings outside the graph: the numbers that PyTorch interpolates, cached within a budget."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serve_app.detection.engines.positions import PositionEmbeddings
from serve_app.detection.model.artifact import Files
from serve_app.detection.spec import MID_POSITIONS, PIXELS, POSITIONS
from serve_app.errors import UnreadableModel
from tests.checkpoints import SPEC, TOKENS

ROWS, COLUMNS = SPEC.position_grid
HIDDEN, LAYERS = 8, 3


def trained(*lead: int, seed: int = 0) -> NDArray[np.float32]:
    shape = (*lead, 1 + ROWS * COLUMNS + TOKENS, HIDDEN)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def by_torch(tokens: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """As transformers' InterpolateInitialPositionEmbeddings does it, for (n, tokens, hidden)."""
    patches = torch.from_numpy(tokens[:, 1:-TOKENS]).transpose(1, 2).reshape(len(tokens), HIDDEN, ROWS, COLUMNS)
    resized = torch.nn.functional.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
    middle = resized.flatten(2).transpose(1, 2).numpy()
    return np.concatenate([tokens[:, :1], middle, tokens[:, -TOKENS:]], axis=1)


@pytest.mark.parametrize("grid", [(ROWS, COLUMNS), (1, 1), (1, 40), (7, 3), (50, 66), (5, 5), (83, 2)])
def test_they_are_what_torch_interpolates(grid: tuple[int, int]) -> None:
    initial, mid = trained(1), trained(LAYERS, 1, seed=1)
    found = PositionEmbeddings(initial, mid, SPEC).for_grid(*grid)
    assert found.mid is not None
    np.testing.assert_allclose(found.initial, by_torch(initial, grid), atol=5e-6)
    np.testing.assert_allclose(found.mid[:, 0], by_torch(mid[:, 0], grid), atol=5e-6)
    assert found.initial.dtype == found.mid.dtype == np.float32


def test_the_trained_grid_comes_back_bit_for_bit() -> None:
    initial = trained(1)
    np.testing.assert_array_equal(PositionEmbeddings(initial, None, SPEC).for_grid(ROWS, COLUMNS).initial, initial)


def test_the_feeds_name_the_graphs_inputs_for_the_grid_of_the_pixels() -> None:
    pixels = np.zeros((2, 3, 32, 80), np.float32)
    tokens = 1 + 2 * 5 + TOKENS
    without = PositionEmbeddings(trained(1), None, SPEC).feeds(pixels)
    assert set(without) == {PIXELS, POSITIONS}
    assert without[POSITIONS].shape == (1, tokens, HIDDEN)
    feeds = PositionEmbeddings(trained(1), trained(LAYERS, 1), SPEC).feeds(pixels)
    assert feeds[MID_POSITIONS].shape == (LAYERS, 1, tokens, HIDDEN)
    assert feeds[PIXELS] is pixels


def test_a_grid_is_computed_once() -> None:
    positions = PositionEmbeddings(trained(1), None, SPEC)
    assert positions.for_grid(3, 3).initial is positions.for_grid(3, 3).initial


def test_of_two_threads_that_miss_the_cache_one_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    positions, resize = PositionEmbeddings(trained(1), None, SPEC), PositionEmbeddings._resize
    arrived, go = threading.Semaphore(0), threading.Event()
    computed: list[NDArray[np.float32]] = []

    class ArrivalsCounted:
        """The lock of the cache, which tells of each thread that comes to it."""

        lock = threading.Lock()

        def __enter__(self) -> None:
            arrived.release()
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    def held(*arguments: Any) -> NDArray[np.float32]:
        assert go.wait(60)
        computed.append(resize(*arguments))
        return computed[-1]

    monkeypatch.setattr(PositionEmbeddings, "_resize", held)
    monkeypatch.setattr(positions, "_cache_free", ArrivalsCounted())
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(positions.for_grid, 3, 3) for _ in range(4)]
        for _ in found:
            assert arrived.acquire(timeout=60)
        go.set()
    assert len(computed) == 1
    assert all(grid.result().initial is computed[0] for grid in found)


def test_the_cache_stays_within_its_budget_and_drops_what_was_used_longest_ago() -> None:
    one = (1 + 9 + TOKENS) * HIDDEN * 4
    positions = PositionEmbeddings(trained(1), None, SPEC, budget=2 * one)
    square, wide = positions.for_grid(3, 3), positions.for_grid(1, 9)
    assert positions.for_grid(3, 3) is square
    positions.for_grid(9, 1)
    assert positions.for_grid(3, 3) is square
    assert positions.for_grid(1, 9) is not wide


def test_a_grid_larger_than_the_budget_is_served_all_the_same() -> None:
    positions = PositionEmbeddings(trained(1), None, SPEC, budget=1)
    large = positions.for_grid(9, 9)
    assert positions.for_grid(9, 9) is large


def load(content: bytes) -> PositionEmbeddings:
    return PositionEmbeddings.load(Files(Path("/artifact"), b"", content), SPEC)


def saved(**arrays: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def test_they_are_read_as_they_were_written() -> None:
    initial, mid = trained(1), trained(LAYERS, 1)
    np.testing.assert_array_equal(load(saved(initial=initial)).for_grid(ROWS, COLUMNS).initial, initial)
    found = load(saved(initial=initial, mid=mid)).for_grid(ROWS, COLUMNS).mid
    assert found is not None
    np.testing.assert_array_equal(found, mid)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "holds no position embeddings"),
    (b"PK\x03\x04 cut short", "holds no position embeddings"),
    (saved(mid=trained(LAYERS, 1)), r"holds no position embeddings \(.*initial"),
    (saved(initial=trained(1)[:, 1:]), r"initial has the shape \(1, 36, 8\), expected 37 tokens"),
    (saved(initial=trained(1), mid=trained(LAYERS)), "mid has the shape"),
], ids=["empty", "cut short", "without initial", "of another grid", "without an axis"])  # fmt: skip
def test_what_does_not_fit_the_spec_is_named(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableModel, match=f"/artifact/position_embeddings.npz:? {words}"):
        load(content)
