"""Pure: the order of rounds; interleaved timings -> medians, ratios and their intervals. Used by the benchmarks."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

_RESAMPLES = 2000
Item = TypeVar("Item")


class Ratio(NamedTuple):
    """How many times faster than the reference, with its 95 % interval."""

    value: float
    low: float
    high: float


def median(seconds: Sequence[float]) -> float:
    """The median of one engine's rounds."""
    return float(np.median(seconds))


def ratio(reference: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Median over rounds of reference time by candidate time, bootstrapped over rounds.

    Both lists come from the same rounds, so a slow stretch of the machine hits both sides of a quotient.
    """
    quotients = np.asarray(reference) / np.asarray(candidate)
    rounds = np.random.default_rng(0).integers(0, len(quotients), (_RESAMPLES, len(quotients)))
    low, high = np.percentile(np.median(quotients[rounds], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(quotients)), float(low), float(high))


def turned(items: Sequence[Item], number: int) -> list[Item]:
    """The items in the order of round `number`: each is the first equally often."""
    start = number % len(items)
    return [*items[start:], *items[:start]]
