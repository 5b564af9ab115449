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


@pytest.mark.parametrize(("edge", "deviation"), [(0, 0.01), (1, 0.02), (2, 0.01), (3, 0.02)])
@pytest.mark.parametrize("by", [10, -10])
def test_each_edge_is_measured_against_its_own_side_of_the_image(edge: int, deviation: float, by: float) -> None:
    edges = [100.0, 100, 500, 400]
    edges[edge] += by
    assert agreement([found("a", 0.9, 100, 100, 500, 400)], [found("a", 0.9, *edges)]).box_deviation == deviation


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
    assert agreement([SHIRT], []) == agreement([], [SHIRT]) == Agreement(False, 0, 1, 0.0, 1.0, 0.0, 0.0)


def test_half_of_an_overlap_is_still_one_object() -> None:
    result = agreement([found("a", 0.9, 0, 0, 100, 100)], [found("a", 0.9, 0, 0, 100, 50)])
    assert (result.matched, result.unmatched, result.iou) == (1, 0, 0.5)


def test_a_poor_partner_is_better_than_none() -> None:
    left, right = found("a", 0.9, 0, 0, 100, 100), found("a", 0.9, 56, 0, 156, 100)
    middle = found("a", 0.1, 28, 0, 128, 100)  # IoU 0.56 with both
    assert compare([left, middle], [middle, right], SIZE, 0.5, floors=(0, 0)).matched == 2


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
    paired = 0
    for _ in range(60):
        reference, candidate = ([_random_box(rng) for _ in range(rng.randint(1, 5))] for _ in range(2))
        overlap = iou_matrix(corners(reference), corners(candidate))
        result = agreement(reference, candidate)
        matched, worst = _best_assignment(overlap)
        assert result.matched == matched
        assert result.iou == pytest.approx(worst)
        paired += matched
    assert paired > 60


def _random_box(rng: random.Random) -> Detection:
    x, y = rng.uniform(0, 30), rng.uniform(0, 30)
    return found("a", 0.9, x, y, x + rng.uniform(60, 120), y + rng.uniform(60, 120))


def _best_assignment(overlap: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> tuple[int, float]:
    """Pairs and worst IoU of the assignment with most pairs, and of these with the largest total IoU."""
    rows, columns = overlap.shape
    if rows > columns:
        return _best_assignment(overlap.T)
    choices = []
    for chosen in itertools.permutations(range(columns), rows):
        ious = [float(overlap[row, chosen[row]]) for row in range(rows) if overlap[row, chosen[row]] >= 0.5]
        choices.append((len(ious), sum(ious), min(ious, default=1.0)))
    best = max(choices)
    return best[0], best[2]


@pytest.mark.parametrize("edges", [(10, 10, 50, 10), (10, 10, 10, 50), (10, 10, 10, 10)])
def test_boxes_without_area_agree_with_themselves(edges: tuple[float, ...]) -> None:
    flat = found("shirt", 0.9, *edges)
    assert agreement([flat], [flat]) == Agreement(True, 1, 0, 1.0, 1.0, 0.0, 0.0)
    assert iou_matrix(corners([flat]), corners([flat, SHIRT])).tolist() == [[1.0, 0.0]]


def test_a_shift_of_the_size_of_rounding_is_none_however_small_the_box() -> None:
    speck = found("shirt", 0.9, 10, 10, 10.004, 10.004)
    for other in found("shirt", 0.9, 10.001, 10, 10.003, 10.001), found("shirt", 0.9, 10.3, 10.3, 10.304, 10.304):
        result = agreement([speck], [other])
        assert (result.agrees, result.matched, result.iou) == (True, 1, 1.0)
    far = found("shirt", 0.9, 10.6, 10, 10.604, 10.004)
    assert agreement([speck], [far]).unmatched == 2


def test_half_a_pixel_is_no_shift_of_a_box_but_may_be_too_much_for_a_tiny_image() -> None:
    one, other = found("a", 0.9, 1, 1, 3, 3), found("a", 0.9, 1.5, 1.5, 3.5, 3.5)
    for width, agrees in (10, True), (8, False):
        result = compare([one], [other], ImageSize(width=width, height=10), 0.5)
        assert (result.agrees, result.iou, result.box_deviation) == (agrees, 1.0, 0.5 / width)


def test_one_misplaced_box_among_ten_decides() -> None:
    good = [found("a", 0.9, 100 * index, 0, 100 * index + 90, 90) for index in range(9)]
    result = compare([*good, found("a", 0.9, 100, 500, 140, 540)], [*good, found("a", 0.9, 113, 500, 153, 540)],
                     ImageSize(width=1000, height=1000), 0.5)  # fmt: skip
    assert result.matched == 10
    assert result.iou == pytest.approx(27 / 53)
    assert not result.agrees


@pytest.mark.parametrize(("side", "shift", "agrees"), [
    (20, 1, True),     # IoU 0.90 by 0.1 % of the image
    (40, 4.9, True),   # IoU 0.78
    (40, 5.1, False),  # over 0.5 % of the image, IoU 0.77
    (20, 3.2, False),  # IoU 0.72
    (100, 5.1, False),
    (400, 5.1, True),  # IoU 0.97
])  # fmt: skip
def test_a_small_box_may_lose_overlap_by_a_shift_that_is_small_for_the_image(
    side: float, shift: float, agrees: bool
) -> None:
    one, other = found("a", 0.9, 0, 0, side, side), found("a", 0.9, shift, 0, side + shift, side)
    assert compare([one], [other], ImageSize(width=1000, height=1000), 0.5).agrees is agrees


def test_a_detection_that_fell_far_below_the_threshold_is_found_there_and_measured() -> None:
    before = [found("a", 0.54, 100 * index, 0, 100 * index + 90, 90) for index in range(10)]
    after = [detection.model_copy(update={"score": 0.02}) for detection in before]
    for pair in (before, after), (after, before):
        result = compare(*pair, SIZE, 0.5, floors=(0, 0))
        assert (result.agrees, result.matched, result.unmatched) == (False, 10, 0)
        assert result.score_deviation == pytest.approx(0.52)


@pytest.mark.parametrize(("score", "partner", "floor", "agrees"), [
    (0.501, 0.455, 0.45, True),   # moved less than the tolerance, across the threshold
    (0.501, 0.445, 0.40, False),  # moved more, and that is seen
    (0.501, None, 0.45, False),   # moved more: otherwise its partner would be over the floor
    (0.501, None, 0.46, True),    # perhaps moved by less
    (0.58, None, 0.5, False),
])  # fmt: skip
def test_only_what_the_other_lists_floor_may_hide_can_stay_alone(
    score: float, partner: float | None, floor: float, agrees: bool
) -> None:
    alone = found("hat", score, 0, 0, 50, 50)
    others = [alone.model_copy(update={"score": partner})] if partner else []
    assert compare([alone], others, SIZE, 0.5, floors=(0.5, floor)).agrees is agrees
    assert compare(others, [alone], SIZE, 0.5, floors=(floor, 0.5)).agrees is agrees


def test_what_is_below_the_threshold_on_both_sides_counts_for_nothing() -> None:
    faint = [found("hat", 0.4, 0, 0, 50, 50)]
    assert compare(faint, [found("hat", 0.1, 0, 0, 50, 50)], SIZE, 0.5, floors=(0, 0)).matched == 0
    assert compare([SHIRT, *faint], [SHIRT], SIZE, 0.5, floors=(0, 0)).agrees
    just = [found("hat", 0.5, 0, 0, 50, 50)]  # a client gets what is over the threshold
    assert compare(just, just, SIZE, 0.5, floors=(0, 0)).matched == 0
    assert compare(just, [], SIZE, 0.5, floors=(0, 0)).agrees


def test_a_faint_double_with_the_better_overlap_takes_no_partner_away() -> None:
    one, moved = found("a", 0.9, 0, 0, 100, 100), found("a", 0.9, 1, 0, 101, 100)
    double = one.model_copy(update={"score": 0.1})
    result = compare([one], [double, moved], SIZE, 0.5, floors=(0, 0))
    assert (result.agrees, result.score_deviation) == (True, 0.0)
    assert compare([one, moved.model_copy(update={"score": 0.1})], [double, moved], SIZE, 0.5, floors=(0, 0)).agrees


def test_of_two_detections_on_one_object_each_keeps_its_own_score() -> None:
    sure, doubtful = found("a", 0.9, 0, 0, 100, 100), found("a", 0.6, 1, 0, 101, 100)
    shifted = [found("a", 0.9, 1, 0, 101, 100), found("a", 0.6, 0, 0, 100, 100)]
    assert agreement([sure, doubtful], shifted).score_deviation == 0.0


def test_it_does_not_matter_which_list_is_named_first() -> None:
    rng = random.Random(3)
    for _ in range(200):
        lists = [
            [found(rng.choice("ab"), rng.choice([0.4, 0.52, 0.9]), x, 0, x + 20, 20)
             for x in rng.choices(range(0, 40, 5), k=rng.randint(0, 6))]
            for _ in range(2)
        ]  # fmt: skip
        floors = (rng.choice([0.4, 0.5]), rng.choice([0.4, 0.5]))
        forward = compare(lists[0], lists[1], SIZE, 0.5, floors=floors)
        assert forward == compare(lists[1][::-1], lists[0], SIZE, 0.5, floors=floors[::-1])


def test_the_tolerance_is_five_percent() -> None:
    assert TOLERANCE == 0.05


@pytest.mark.parametrize(("candidate", "agrees"), [
    (found("a", 0.78, 0, 0, 200, 200), False),  # score
    (found("a", 0.82, 0, 0, 200, 200), True),
    (found("a", 0.9, 0, 0, 180.2, 200), True),  # IoU 0.901
    (found("a", 0.9, 0, 0, 179, 200), False),
])  # fmt: skip
def test_another_tolerance_bounds_scores_and_overlaps(candidate: Detection, agrees: bool) -> None:
    assert compare([found("a", 0.9, 0, 0, 200, 200)], [candidate], SIZE, 0.5, tolerance=0.1).agrees is agrees


def test_another_tolerance_says_what_a_floor_may_hide_and_which_shift_is_small() -> None:
    for label in "hat", "tie":  # before and after the label of the pair
        lonely = found(label, 0.59, 0, 0, 50, 50)
        assert compare([SHIRT, lonely], [SHIRT], SIZE, 0.5, tolerance=0.1).agrees
    one, other = found("a", 0.9, 0, 0, 40, 40), found("a", 0.9, 4.9, 0, 44.9, 40)  # IoU 0.78 by 0.49 % of the image
    size = ImageSize(width=1000, height=1000)
    assert [compare([one], [other], size, 0.5, tolerance=bound).agrees for bound in (0.04, 0.05)] == [False, True]
