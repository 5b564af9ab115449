"""The split: which backend a request is assigned to, from the policy and the request's key.

Pure but for the random draw. Called by `traffic.dispatch`.
"""

import hashlib
import random

from serve_app.schemas import Backend
from serve_app.settings import TrafficPolicy

_SMALLEST_BLOCK = 100
_LARGEST_BLOCK = 1_000_000
_HASH_BITS = 64


def sticky_assignment(policy: TrafficPolicy, key: str) -> Backend:
    """The backend of a client key: a fixed point of [0, 1) per (experiment, key), compared with the fraction.

    Raising the fraction only ever moves keys from torch to onnx; a new experiment name draws new points.
    """
    # The length prefix keeps ("ab", "c") and ("a", "bc") apart.
    text = f"{len(policy.experiment)}:{policy.experiment}:{key}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_HASH_BITS // 8).digest()
    point = int.from_bytes(digest, "big") / 2**_HASH_BITS
    return "onnx" if point < policy.onnx_fraction else "torch"


def block_size(fraction: float) -> int:
    """Requests in a block: 100, or the smallest larger power of ten in which the fraction is a whole number."""
    size = _SMALLEST_BLOCK
    while size < _LARGEST_BLOCK and abs(fraction * size - round(fraction * size)) > 1e-6:
        size *= 10
    return size


class BlockAssigner:
    """Permuted blocks for requests without a key: every block holds exactly its share, in an unpredictable order.

    Drawn one at a time by selection sampling (Knuth, TAOCP vol. 2, 3.4.2, algorithm S), so no block is stored.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.SystemRandom()
        self._fraction: float | None = None
        self._left = 0
        self._onnx_left = 0

    def assign(self, policy: TrafficPolicy) -> Backend:
        """Draw the backend of the next request. A changed fraction starts a new block."""
        if self._left == 0 or policy.onnx_fraction != self._fraction:
            self._start_block(policy.onnx_fraction)
        onnx = self._rng.randrange(self._left) < self._onnx_left
        self._left -= 1
        self._onnx_left -= onnx
        return "onnx" if onnx else "torch"

    def _start_block(self, fraction: float) -> None:
        self._fraction = fraction
        self._left = block_size(fraction)
        self._onnx_left = round(fraction * self._left)


class Split:
    """Draws the backend of each request of one router replica."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._blocks = BlockAssigner(rng)

    def assign(self, policy: TrafficPolicy, key: str | None) -> Backend:
        """The backend of a request: by its client key if it has one, else by the next place in the block."""
        return sticky_assignment(policy, key) if key else self._blocks.assign(policy)

    @staticmethod
    def possible(policy: TrafficPolicy, key: str | None) -> set[Backend]:
        """The backends that a request may be assigned to. Asking draws nothing."""
        if key:
            return {sticky_assignment(policy, key)}
        ends: dict[float, set[Backend]] = {0.0: {"torch"}, 1.0: {"onnx"}}
        return ends.get(policy.onnx_fraction, {"torch", "onnx"})
