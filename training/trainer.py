"""The training loop: schedule, one step, resuming. Called by `training.train`, which owns the command line."""

import itertools
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import YolosForObjectDetection

from training.checkpoint import token_places
from training.losses import Targets, dense_loss, set_loss
from training.progress import Average, load_progress, save_progress
from training.samples import Batch, Batches, Pool

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
PLACES = token_places()
WARM_UP = 150
MUON_FACTOR = 3.0
EARLY_LAYER = 4


class Plan(NamedTuple):
    """The hyperparameters of a run. All schedules depend on step / steps, so a run can be continued with more steps."""

    steps: int
    batch_size: int = 32
    seed: int = 0
    peak_rate: float = 1e-3
    save_every_s: float = 180.0
    sides: tuple[tuple[float, int], ...] = ((0.45, 128), (0.78, 160), (1.0, 224))
    repeats: tuple[tuple[float, int], ...] = ((0.28, 3), (0.47, 2), (1.0, 1))
    decay_from: float = 0.55
    naming_weight: float = 1.0

    def onward(self) -> "Plan":
        """The plan of a run that starts from trained weights: near full resolution, one token per object, a lower rate.

        With trained weights most boxes are right and most misses are wrong names, so the naming loss counts double.
        """
        sides, repeats = ((0.35, 192), (1.0, 224)), ((1.0, 1),)
        return self._replace(peak_rate=5e-4, sides=sides, repeats=repeats, decay_from=0.25, naming_weight=2.0)

    def short_side(self, step: int) -> int:
        """The batch's resolution in pixels; early on, small pictures teach as much in a fraction of the time."""
        return _stage(self.sides, step / self.steps)

    def matches(self, step: int) -> int:
        """How many tokens are matched to one object."""
        return _stage(self.repeats, step / self.steps)

    def rate(self, step: int) -> float:
        """The learning rate: warm-up, plateau, linear decay."""
        done = step / self.steps
        left = min(1.0, (1 - done) / (1 - self.decay_from))
        warm_up = min(WARM_UP, max(1, self.steps // 20))
        return self.peak_rate * min(1.0, (step + 1) / warm_up) * max(left, 0.01)


class Trainer:
    """A model in training, with its running average, resumable from `progress`."""

    def __init__(self, model: YolosForObjectDetection, plan: Plan, progress: Path) -> None:
        self._model, self.plan, self._progress = model.train(), plan, progress
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.nn.Module.to(model, self.device)  # transformers' own `to` has no usable type
        self._optimizers = _optimizers(model)
        self.average = Average(model)
        self.step = load_progress(progress, model, self.average, self._optimizers)

    def run(self, pool: Pool, workers: int, on_save: Callable[[int], None]) -> Generator[float, None, None]:
        """Train to the plan's last step, yielding each step's loss; `on_save` is called after each saved state."""
        batches = Batches(pool, self.plan.seed, self.plan.batch_size, self.plan.short_side)
        order = range(self.step, self.plan.steps)
        loader = DataLoader(batches, sampler=order, batch_size=None, num_workers=workers)
        saved = time.monotonic()
        with tqdm(total=self.plan.steps, initial=self.step, unit="step", mininterval=10) as bar:
            for batch in loader:
                loss = self.train_step(batch)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if time.monotonic() - saved > self.plan.save_every_s or self.step == self.plan.steps:
                    save_progress(self._progress, self.step, self._model, self.average, self._optimizers)
                    on_save(self.step)
                    saved = time.monotonic()
                yield loss

    def train_step(self, batch: Batch) -> float:
        """One step of the optimiser; returns the loss before it."""
        loss = self._loss(batch)
        self._model.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer, factor in zip(self._optimizers, (MUON_FACTOR, 1.0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * self.plan.rate(self.step)
            optimizer.step()
        self.step += 1
        self.average.update(self._model, self.step)
        return float(loss.detach())

    def averaged(self) -> YolosForObjectDetection:
        """A copy of the model that carries the averaged weights, ready to detect or to be saved."""
        copy = YolosForObjectDetection(self._model.config)
        copy.load_state_dict({name: value.cpu() for name, value in self.average.weights.items()})
        copy.train(False)
        return copy

    def _loss(self, batch: Batch) -> Tensor:
        pixels = (batch.pixels.float().div(255) - MEAN) / STD
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self._model.vit(pixels.to(self.device), output_hidden_states=True)
            early = self._model.vit.layernorm(seen.hidden_states[min(EARLY_LAYER, len(seen.hidden_states) - 1)])
            last = seen.last_hidden_state
            return self._judged(last, batch.targets) + 0.5 * self._judged(early, batch.targets)

    def _judged(self, tokens: Tensor, targets: Targets) -> Tensor:
        # On the CPU: the losses index small tensors and solve assignments, which is slower on an accelerator.
        logits = self._model.class_labels_classifier(tokens).float().cpu()
        boxes = self._model.bbox_predictor(tokens).float().sigmoid().cpu()
        count = self._model.config.num_detection_tokens
        repeats = self.plan.matches(self.step)
        nothing_weight = 0.3 if repeats == 1 else 0.2
        found = set_loss(logits[:, -count:], boxes[:, -count:], targets, PLACES, repeats, nothing_weight)
        dense = dense_loss(logits[:, 1:-count], boxes[:, 1:-count], targets)
        return found.plus(dense).weighted(self.plan.naming_weight)


def _optimizers(model: YolosForObjectDetection) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the encoder layers, where it needs far fewer steps; AdamW for all other weights."""
    inner = {name for name, weight in model.named_parameters() if weight.ndim == 2 and "encoder.layer" in name}
    matrices = [weight for name, weight in model.named_parameters() if name in inner]
    others = [weight for name, weight in model.named_parameters() if name not in inner]
    return [
        torch.optim.Muon(matrices, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def _stage(stages: tuple[tuple[float, int], ...], done: float) -> int:
    return next(value for until, value in itertools.chain(stages, [(float("inf"), stages[-1][1])]) if done < until)
