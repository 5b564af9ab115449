"""The assignment: exact in blocks, sticky by key, monotone in the fraction."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.settings import TrafficPolicy
from serve_app.traffic.split import BlockAssigner, Split, block_size, sticky_assignment

KEYS = [f"client-{number}" for number in range(2000)]
fractions = st.floats(0, 1, allow_nan=False)


@given(percent=st.integers(0, 100), seed=st.integers(0, 1000))
def test_every_block_of_100_holds_exactly_its_share(percent: int, seed: int) -> None:
    policy, assigner = TrafficPolicy(onnx_fraction=percent / 100), BlockAssigner(random.Random(seed))
    for _ in range(3):
        block = Counter(assigner.assign(policy) for _ in range(100))
        assert block["onnx"] == percent


@pytest.mark.parametrize(
    ("fraction", "size"),
    [(0, 100), (1, 100), (0.3, 100), (0.29, 100), (0.005, 1000), (0.0001, 10_000), (0.000001, 10**6), (1 / 3, 10**6)],
)
def test_finer_fractions_use_larger_blocks(fraction: float, size: int) -> None:
    assert block_size(fraction) == size


def test_a_fine_fraction_is_exact_in_its_block() -> None:
    policy, assigner = TrafficPolicy(onnx_fraction=0.005), BlockAssigner(random.Random(1))
    assert Counter(assigner.assign(policy) for _ in range(1000))["onnx"] == 5


def test_the_order_within_a_block_differs_from_block_to_block() -> None:
    policy, assigner = TrafficPolicy(onnx_fraction=0.5), BlockAssigner(random.Random(1))
    blocks = [tuple(assigner.assign(policy) for _ in range(100)) for _ in range(5)]
    assert len(set(blocks)) == 5


def test_a_changed_fraction_counts_from_its_first_request() -> None:
    assigner = BlockAssigner(random.Random(1))
    for _ in range(37):
        assigner.assign(TrafficPolicy(onnx_fraction=0.5))
    rolled_back = {assigner.assign(TrafficPolicy(onnx_fraction=0.0)) for _ in range(100)}
    assert rolled_back == {"torch"}


@given(low=fractions, high=fractions)
def test_raising_the_fraction_only_moves_clients_to_onnx(low: float, high: float) -> None:
    low, high = sorted((low, high))
    before, after = (
        [sticky_assignment(TrafficPolicy(onnx_fraction=fraction), key) for key in KEYS[:200]]
        for fraction in (low, high)
    )
    moved = {change for change in zip(before, after, strict=True) if change[0] != change[1]}
    assert moved <= {("torch", "onnx")}


def test_two_thousand_clients_keep_their_backend_and_fill_the_share() -> None:
    policy = TrafficPolicy(onnx_fraction=0.3)
    first, again = ([sticky_assignment(policy, key) for key in KEYS] for _ in range(2))
    assert first == again
    assert first.count("onnx") / len(KEYS) == pytest.approx(0.3, abs=0.03)


def test_another_experiment_draws_anew() -> None:
    one, two = (
        [sticky_assignment(TrafficPolicy(onnx_fraction=0.5, experiment=name), key) for key in KEYS] for name in "ab"
    )
    assert sum(a != b for a, b in zip(one, two, strict=True)) == pytest.approx(1000, abs=120)


@pytest.mark.parametrize(("experiment", "expected"), [("autumn", "ooootttooooototo"), ("autum", "tttooootottootto")])
def test_a_client_keeps_its_point_in_every_release(experiment: str, expected: str) -> None:
    policy = TrafficPolicy(onnx_fraction=0.5, experiment=experiment)
    assert "".join(sticky_assignment(policy, key)[0] for key in KEYS[:16]) == expected


def test_a_request_without_a_key_takes_its_place_in_the_block() -> None:
    policy, split = TrafficPolicy(onnx_fraction=0.5), Split(random.Random(1))
    for key in None, "":
        assert Counter(split.assign(policy, key) for _ in range(100)) == {"onnx": 50, "torch": 50}
    assert {split.assign(policy, KEYS[0]) for _ in range(100)} == {sticky_assignment(policy, KEYS[0])}


@pytest.mark.parametrize(("fraction", "possible"), [
    (0.0, {"torch"}), (1.0, {"onnx"}), (0.001, {"torch", "onnx"}), (0.999, {"torch", "onnx"}),
])  # fmt: skip
def test_a_request_without_a_key_may_go_where_the_fraction_leaves_a_share(fraction: float, possible: set[str]) -> None:
    policy = TrafficPolicy(onnx_fraction=fraction)
    assert Split.possible(policy, None) == Split.possible(policy, "") == possible
    assert Split.possible(policy, KEYS[0]) == {sticky_assignment(policy, KEYS[0])}


@pytest.mark.parametrize(("fraction", "backend"), [(0.0, "torch"), (1.0, "onnx")])
def test_the_ends_are_absolute(fraction: float, backend: str) -> None:
    policy, assigner = TrafficPolicy(onnx_fraction=fraction), BlockAssigner()
    assert {sticky_assignment(policy, key) for key in KEYS} == {backend}
    assert {assigner.assign(policy) for _ in range(1000)} == {backend}


@given(key=st.text(min_size=1))
def test_any_key_has_an_backend(key: str) -> None:
    assert sticky_assignment(TrafficPolicy(onnx_fraction=0.5), key) in ("torch", "onnx")


def test_bytes_that_are_no_text_are_a_key_too() -> None:
    assert sticky_assignment(TrafficPolicy(onnx_fraction=0.5), "\udcff") == "onnx"
