"""The bank of pictures: what goes in comes out, and half a bank counts as none."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from training.bank import Bank, Entry, store, stored


def entries(rng: np.random.Generator) -> list[Entry]:
    sizes = [(4, 6), (7, 3), (5, 5)]
    return [Entry(label, rng.integers(0, 256, (*size, 4)).astype(np.uint8)) for label, size in enumerate(sizes)]


def test_pictures_come_back_as_they_were(tmp_path: Path, rng: np.random.Generator) -> None:
    given = entries(rng)
    bank = store(tmp_path / "new" / "bank.bin", given)
    reopened = Bank(tmp_path / "new" / "bank.bin")
    assert len(bank) == len(reopened) == 3
    assert reopened.labels.tolist() == [0, 1, 2]
    for number, entry in enumerate(given):
        assert np.array_equal(reopened.picture(number), entry.pixels)


def test_a_bank_cut_short_is_not_taken_for_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    def breaking() -> Iterator[Entry]:
        yield entries(rng)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "bank.bin", breaking())
    assert not stored(tmp_path / "bank.bin")


def test_a_stored_bank_is_recognised(tmp_path: Path, rng: np.random.Generator) -> None:
    store(tmp_path / "bank.bin", entries(rng))
    assert stored(tmp_path / "bank.bin")
