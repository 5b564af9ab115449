"""Agreement: matching by IoU within a label, the four measures, and what is not held against a candidate."""

import itertools
import random

import numpy as np
import pytest

from serve_app.detection.agreement import TOLERANCE, Agreement, compare, corners, iou_matrix
from serve_app.schemas import Box, Detection, ImageSize

SIZE = ImageSize(width=1000, height=500)


def found(label: str, score: float, *edges: float) -> Detection:
    return Detection(label=label, score=score, box=Box.of(edges))


def agreement(reference: list[Detection], candidate: list[Detection], threshold: float = 0.5) -> Agreement:
    return compare(reference, candidate, SIZE, threshold)


SHIRT = found("shirt", 0.9, 100, 100, 300, 300)
PANTS = found("pants", 0.8, 400, 100, 700, 450)


def test_equal_lists_agree_perfectly_in_any_order() -> None:
    result = agreement([SHIRT, PANTS], [PANTS, SHIRT])
    assert result == Agreement(True, 2, 0, 1.0, 1.0, 0.0, 0.0)


def test_two_empty_lists_agree() -> None:
    assert agreement([], []) == Agreement(True, 0, 0, 1.0, 1.0, 0.0, 0.0)


def test_the_measures_of_one_shifted_pair() -> None:
    shifted = found("shirt", 0.87, 110, 105, 310, 305)
    result = agreement([SHIRT], [shifted])
    intersection = 190 * 195
    assert result.matched == 1
    assert result.iou == pytest.approx(intersection / (2 * 200 * 200 - intersection))
    assert result.score_deviation == pytest.approx(0.03)
    assert result.box_deviation == pytest.approx(0.01)  # 10 of 1000 across, 5 of 500 down


@pytest.mark.parametrize(
    ("candidate", "agrees"),
    [
        (found("shirt", 0.86, 100, 100, 300, 300), True),
        (found("shirt", 0.84, 100, 100, 300, 300), False),  # score
        (found("shirt", 0.9, 102, 101, 302, 301), True),
        (found("shirt", 0.9, 106, 103, 306, 303), False),  # IoU 0.92, although the edges moved by 0.6 % only
        (found("pants", 0.9, 100, 100, 300, 300), False),  # label
        (found("shirt", 0.9, 600, 100, 800, 300), False),  # another place
    ],
)
def test_a_pair_agrees_if_everything_is_within_five_percent(candidate: Detection, agrees: bool) -> None:
    assert agreement([SHIRT], [candidate]).agrees is agrees
    assert agreement([candidate], [SHIRT]).agrees is agrees


@pytest.mark.parametrize(("score", "agrees"), [(0.54, True), (0.55, True), (0.56, False)])
def test_a_lonely_detection_close_to_the_threshold_is_not_held_against_it(score: float, agrees: bool) -> None:
    lonely = found("hat", score, 0, 0, 50, 50)
    for pair in ([SHIRT, lonely], [SHIRT]), ([SHIRT], [SHIRT, lonely]):
        result = agreement(*pair)
        assert result.agrees is agrees
        assert result.unmatched == (0 if agrees else 1)


def test_iou_of_equal_half_and_distant_boxes() -> None:
    first = np.asarray([[0.0, 0, 10, 10]])
    others = np.asarray([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    assert iou_matrix(first, others).tolist() == [[1.0, 0.5, 0.0]]


def test_matched_share_counts_both_sides() -> None:
    result = agreement([SHIRT, PANTS], [SHIRT, found("hat", 0.9, 0, 0, 50, 50)])
    assert (result.matched, result.unmatched) == (1, 2)
    assert result.matched_share == pytest.approx(0.5)


def test_a_poor_overlap_never_outbids_a_true_pair() -> None:
    # Taken greedily by total overlap, both references would be given a box that is not theirs.
    one, two = found("a", 0.9, 0, 0, 100, 100), found("a", 0.9, 30, 0, 130, 100)
    right, wrong = found("a", 0.9, 20, 0, 120, 100), found("a", 0.9, 300, 0, 400, 100)
    assert agreement([one, two], [right, wrong]).matched == 1


def test_the_best_total_is_found_not_the_first_fit() -> None:
    left, middle = found("a", 0.9, 0, 0, 100, 100), found("a", 0.9, 25, 0, 125, 100)
    result = agreement([left, middle], [found("a", 0.9, 20, 0, 120, 100), found("a", 0.9, 0, 0, 100, 100)])
    assert result.matched == 2
    assert result.box_deviation == pytest.approx(0.005)


def test_matching_is_as_good_as_trying_every_assignment() -> None:
    rng = random.Random(7)
    for _ in range(60):
        reference, candidate = ([_random_box(rng) for _ in range(rng.randint(1, 5))] for _ in range(2))
        overlap = iou_matrix(corners(reference), corners(candidate))
        overlap = np.where(overlap >= 0.5, overlap, 0)
        result = agreement(reference, candidate)
        assert result.iou * result.matched + (0 if result.matched else -1) == pytest.approx(
            _best_total(overlap) if result.matched else -1
        )


def _random_box(rng: random.Random) -> Detection:
    x, y = rng.uniform(0, 60), rng.uniform(0, 60)
    return found("a", 0.9, x, y, x + rng.uniform(40, 120), y + rng.uniform(40, 120))


def _best_total(overlap: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> float:
    rows, columns = overlap.shape
    if rows > columns:
        return _best_total(overlap.T)
    choices = itertools.permutations(range(columns), rows)
    return max(sum(float(overlap[row, chosen[row]]) for row in range(rows)) for chosen in choices)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = found("shirt", 0.9, 100, 100, 100, 300)
    assert agreement([flat], [flat]).matched == 0


def test_the_tolerance_is_five_percent() -> None:
    assert TOLERANCE == 0.05
