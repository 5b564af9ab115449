"""The saved state of a training run: weights, their average, optimisers and step. Used by `training.trainer`."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from serve_app.errors import one_line
from training.errors import BadInputError


class Average:
    """An exponential moving average of the weights, which detects better than the weights of any single step."""

    def __init__(self, model: nn.Module) -> None:
        self.weights: dict[str, Tensor] = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights, fast in the first steps."""
        keep = min(0.99, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - keep)


def save_progress(path: Path, step: int, model: nn.Module, average: Average, optimizers: list[Optimizer]) -> None:
    """Write the state beside the old file, then replace it, so that a kill leaves a complete file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {"step": step, "model": model.state_dict(), "average": average.weights}
    torch.save({**state, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}, partial)
    os.replace(partial, path)


def load_progress(path: Path, model: nn.Module, average: Average, optimizers: list[Optimizer]) -> int:
    """Restore a run into the given objects; returns the step to go on with, 0 where there is nothing saved.

    Raises BadInputError for a damaged file, or one of another model.
    """
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for name, value in state["average"].items():
            average.weights[name].copy_(value)
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return int(state["step"])
    except Exception as error:  # torch raises many unrelated types for a damaged file
        raise BadInputError(f"{path} cannot be read ({one_line(error)}): delete it to start again") from error
