"""The loss: zero where all is right, matching one token or several per object, patches asked for their owner."""

import torch

from training.losses import Loss, Targets, corners, dense_loss, generalized_iou, set_loss

NOTHING = 8
PLACES = torch.full((2, 2), 0.5)


def targets(labels: list[list[int]], boxes: list[list[list[float]]], owners: list[list[int]]) -> Targets:
    return Targets(torch.tensor(labels), torch.tensor(boxes), torch.tensor(owners))


def sure(labels: list[int]) -> torch.Tensor:
    """Logits of one image that name these labels without doubt."""
    return 40.0 * torch.nn.functional.one_hot(torch.tensor([labels]), NOTHING + 1).float()


BOX = [0.5, 0.5, 0.4, 0.2]
ONE = targets([[3, -1]], [[BOX, [0.5] * 4]], [[0, -1]])


def test_corners_of_a_box() -> None:
    assert torch.allclose(corners(torch.tensor(BOX)), torch.tensor([0.3, 0.4, 0.7, 0.6]))


def test_generalized_iou_of_same_and_distant_boxes() -> None:
    box = torch.tensor([0.2, 0.2, 0.2, 0.2])
    assert torch.isclose(generalized_iou(box, box), torch.tensor(1.0))
    assert generalized_iou(box, torch.tensor([0.8, 0.8, 0.2, 0.2])) < -0.5


def test_perfect_detections_cost_nothing() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.1, 0.1], BOX]])
    assert set_loss(sure([NOTHING, 3]), boxes, ONE, PLACES, repeats=1, nothing_weight=0.3).weighted(1) < 1e-4


def test_a_wrong_label_and_a_wrong_box_both_cost() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.1, 0.1], BOX]])
    misnamed = set_loss(sure([NOTHING, 4]), boxes, ONE, PLACES, 1, 0.3)
    assert misnamed.naming > 1 > 1e-4 > misnamed.boxes
    misplaced = set_loss(sure([NOTHING, 3]), boxes * 0.5, ONE, PLACES, 1, 0.3)
    assert misplaced.boxes > 0.5 > 1e-4 > misplaced.naming


def test_names_count_as_often_as_asked() -> None:
    loss = Loss(torch.tensor(2.0), torch.tensor(1.0)).plus(Loss(torch.tensor(0.5), torch.tensor(0.0)))
    assert loss.weighted(2) == 6


def test_a_duplicate_costs_only_where_one_token_shall_answer() -> None:
    boxes = torch.tensor([[BOX, BOX]])
    assert set_loss(sure([3, 3]), boxes, ONE, PLACES, repeats=2, nothing_weight=0.3).weighted(1) < 1e-4
    assert set_loss(sure([3, 3]), boxes, ONE, PLACES, repeats=1, nothing_weight=0.3).weighted(1) > 1


def test_more_objects_times_repeats_than_tokens_still_match() -> None:
    two = targets([[3, 5]], [[BOX, [0.2, 0.2, 0.1, 0.1]]], [[0, 1]])
    boxes = torch.tensor([[BOX, [0.2, 0.2, 0.1, 0.1], [0.9] * 4]])
    places = torch.tensor([[0.5, 0.5], [0.2, 0.2], [0.9, 0.9]])
    loss = set_loss(sure([3, 5, NOTHING]), boxes, two, places, repeats=4, nothing_weight=0.3)
    assert loss.weighted(1) < 1e-4


def test_patches_answer_for_the_garment_they_lie_on() -> None:
    boxes = torch.tensor([[BOX, [0.9] * 4]])
    assert dense_loss(sure([3, NOTHING]), boxes, ONE).weighted(1) < 1e-4
    assert dense_loss(sure([NOTHING, 3]), boxes, ONE).weighted(1) > 1


def test_an_image_without_garments_is_no_error() -> None:
    empty = targets([[-1]], [[[0.5] * 4]], [[-1, -1]])
    logits, boxes = sure([NOTHING, NOTHING]), torch.tensor([[BOX, BOX]])
    assert set_loss(logits, boxes, empty, PLACES, 1, 0.3).weighted(1) < 1e-4
    assert dense_loss(logits, boxes, empty).weighted(1) < 1e-4


def test_the_token_whose_place_is_nearest_answers() -> None:
    boxes = torch.tensor([[BOX, BOX]])
    near, far = [0.5, 0.5], [0.1, 0.9]
    assert set_loss(sure([NOTHING, 3]), boxes, ONE, torch.tensor([far, near]), 1, 0.3).weighted(1) < 1e-4
    assert set_loss(sure([NOTHING, 3]), boxes, ONE, torch.tensor([near, far]), 1, 0.3).weighted(1) > 1
