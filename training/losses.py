"""The training loss: set prediction on the detection tokens and dense supervision on the patch tokens.

From the set loss alone a transformer learns to detect slowly. So the same heads also predict, from every patch token,
the garment that the patch lies on and its box; the detection tokens can then attend to these features. The dense loss
adds no weights to the checkpoint. Called by `training.trainer`.
"""

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

BOX_WEIGHT, GIOU_WEIGHT = 5.0, 2.0
PLACE_WEIGHT = 10.0
PAD = -1


class Loss(NamedTuple):
    """The two sides of detecting, each a scalar: giving the right name (or none), and the right box."""

    naming: Tensor
    boxes: Tensor

    def plus(self, other: "Loss") -> "Loss":
        """Both losses together."""
        return Loss(self.naming + other.naming, self.boxes + other.boxes)

    def weighted(self, naming_weight: float) -> Tensor:
        """Their sum, the names counting `naming_weight` times."""
        return naming_weight * self.naming + self.boxes


class Targets(NamedTuple):
    """What a batch shows. Boxes are centre x, centre y, width, height as shares of the canvas.

    labels: images x objects, filled up with -1. boxes: images x objects x 4. owners: images x patches, the object on
    which the patch lies, or -1.
    """

    labels: Tensor
    boxes: Tensor
    owners: Tensor


def corners(boxes: Tensor) -> Tensor:
    """Boxes as xmin, ymin, xmax, ymax from centre x, centre y, width, height."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalized IoU (Rezatofighi et al. 2019) of boxes given as centre and size; the leading dimensions broadcast."""
    a, b = corners(first), corners(second)
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = (first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - inner).clamp(min=1e-6)
    return inner / union - (hull - union) / hull.clamp(min=1e-6)


def set_loss(
    logits: Tensor, boxes: Tensor, targets: Targets, places: Tensor, repeats: int, nothing_weight: float
) -> Loss:
    """The loss on the detection tokens; `places` (tokens x 2) holds each one's place, x and y as shares of the canvas.

    An object is matched to the token whose place is nearest to its middle. Matched by predictions alone, similar tokens
    would alternate for thousands of steps, and none would become certain. Each object is matched to `repeats` tokens:
    several early in a run, one later, so that duplicates disappear. The loss is that of DETR (Carion et al. 2020).
    """
    images, tokens, nothing = logits.shape[0], logits.shape[1], logits.shape[2] - 1
    matched = _match(logits.detach(), boxes.detach(), targets, places, repeats)
    wanted = torch.full((images, tokens), nothing, dtype=torch.long)
    wanted[matched.image, matched.token] = targets.labels[matched.image, matched.target]
    weights = torch.ones(nothing + 1)
    weights[nothing] = nothing_weight
    naming = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weights)
    return Loss(naming, _box_loss(boxes[matched.image, matched.token], targets.boxes[matched.image, matched.target]))


def dense_loss(logits: Tensor, boxes: Tensor, targets: Targets) -> Loss:
    """Each patch names the garment it lies on (or nothing), and gives that garment's box."""
    nothing = logits.shape[2] - 1
    image, patch = torch.nonzero(targets.owners >= 0, as_tuple=True)
    owner = targets.owners[image, patch]
    wanted = torch.full(targets.owners.shape, nothing, dtype=torch.long)
    wanted[image, patch] = targets.labels[image, owner]
    naming = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    return Loss(naming, 0.5 * _box_loss(boxes[image, patch], targets.boxes[image, owner]))


class _Matched(NamedTuple):
    image: Tensor
    token: Tensor
    target: Tensor


def _box_loss(found: Tensor, wanted: Tensor) -> Tensor:
    if found.shape[0] == 0:
        return found.sum()
    distance = (found - wanted).abs().sum(-1).mean()
    return BOX_WEIGHT * distance + GIOU_WEIGHT * (1 - generalized_iou(found, wanted)).mean()


def _match(logits: Tensor, boxes: Tensor, targets: Targets, places: Tensor, repeats: int) -> _Matched:
    """The cheapest assignment of tokens to objects in each image; predictions matter only at similar distances."""
    named = logits.softmax(-1).gather(2, targets.labels.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1))
    distance = (places[None, :, None] - targets.boxes[:, None, :, :2]).norm(dim=-1)
    overlap = generalized_iou(boxes[:, :, None], targets.boxes[:, None])
    costs = (PLACE_WEIGHT * distance - overlap - named).numpy()
    image, token, target = list[int](), list[int](), list[int]()
    for number, count in enumerate((targets.labels != PAD).sum(1).tolist()):
        each = max(1, min(repeats, logits.shape[1] // max(count, 1)))
        rows, columns = linear_sum_assignment(costs[number, :, :count].repeat(each, axis=1))
        image += [number] * len(rows)
        token += rows.tolist()
        target += (columns // each).tolist()
    return _Matched(*(torch.tensor(numbers, dtype=torch.long) for numbers in (image, token, target)))
