"""Pure: the order of rounds, and medians, ratios and differences over rounds with their intervals."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

_RESAMPLES = 2000
Item = TypeVar("Item")


class Interval(NamedTuple):
    """A median over rounds with its 95 % interval."""

    value: float
    low: float
    high: float

    def shown(self) -> str:
        """For a table."""
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def median(values: Sequence[float]) -> float:
    """The median; with an even number, the mean of the two in the middle."""
    return float(np.median(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, interpolated between two of them; 0 for none."""
    return float(np.quantile(values, share)) if values else 0.0


def _over_rounds(values: ArrayLike) -> Interval:
    """The median of one value per round, with a percentile bootstrap over rounds (Efron and Tibshirani, 1993)."""
    rounds = np.asarray(values, dtype=float)
    middle = float(np.median(rounds))
    if len(rounds) < 2:
        return Interval(middle, middle, middle)
    found = stats.bootstrap((rounds,), np.median, n_resamples=_RESAMPLES, method="percentile", rng=0)
    return Interval(middle, float(found.confidence_interval.low), float(found.confidence_interval.high))


def ratio(reference: Sequence[float], candidate: Sequence[float]) -> Interval:
    """How many times the candidate goes into the reference, both measured in the same rounds.

    A slow stretch of the machine is on both sides of a round's quotient, so it cancels.
    """
    return _over_rounds(np.asarray(reference) / np.asarray(candidate))


def difference(values: Sequence[float], others: Sequence[float]) -> Interval:
    """By how much the first values exceed the others of the same rounds."""
    return _over_rounds(np.subtract(values, others))


def turned(items: Sequence[Item], number: int) -> list[Item]:
    """The items in the order of round `number`: each is the first equally often."""
    start = number % len(items)
    return [*items[start:], *items[:start]]
