"""Which fingerprints keep ONNX out of the traffic."""

import pytest

from serve_app.settings import TrafficPolicy
from serve_app.traffic.weights import why_barred

OLD, NEW = "sha256:0123456789abcdef", "sha256:fedcba9876543210"


@pytest.mark.parametrize(
    ("torch", "onnx", "barred"),
    [
        ({OLD}, {OLD}, False),
        ({OLD}, {NEW}, True),
        ({OLD, NEW}, {OLD}, True),  # one of Torch's replicas has loaded already
        ({OLD}, {OLD, NEW}, True),
        ({OLD, NEW}, {OLD, NEW}, True),
        (set(), {NEW}, False),  # Torch was never heard of
        ({OLD}, set(), False),
        (set(), set(), False),
        (set(), {OLD, NEW}, False),
    ],
)
def test_both_known_and_not_one_and_the_same(torch: set[str], onnx: set[str], barred: bool) -> None:
    told = why_barred(TrafficPolicy(), frozenset(torch), frozenset(onnx))
    assert (told is not None) is barred
    assert why_barred(TrafficPolicy(allow_different_weights=True), frozenset(torch), frozenset(onnx)) is None


def test_the_reason_names_both_and_the_remedy() -> None:
    told = why_barred(TrafficPolicy(), frozenset({OLD}), frozenset({NEW, OLD}))
    assert told == (
        "the weights differ: Torch has sha256:0123456789ab and ONNX sha256:0123456789ab, sha256:fedcba987654, so ONNX "
        "carries no traffic; export and deploy one checkpoint to both, "
        "or set Router.user_config.allow_different_weights"
    )
