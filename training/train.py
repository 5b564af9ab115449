"""`python -m training.train`: trains the embedded checkpoint on drawn scenes and, if the folder exists, real photos.

The run saves its state every few minutes and continues from it after a kill. Each save also writes the checkpoint.
"""

import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tqdm import tqdm

from serve_app.schemas import DEFAULT_THRESHOLD
from training.bank import Bank, stored
from training.calibrate import apply, fitted
from training.checkpoint import CHECKPOINT, load_checkpoint, new_config, new_model, save_checkpoint
from training.commands import bad_input_ends_command
from training.dev_set import dev_samples
from training.drawn_bank import build_drawn_banks, build_scene_bank
from training.errors import BadInputError
from training.photo_bank import build_photo_banks
from training.photo_folder import list_photos
from training.samples import Pool
from training.trainer import Plan, Trainer

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "clothing" / "train"
CACHE = Path(".cache/demo")
MOST_DEV_PHOTOS = 150
DEV_EVERY_S = 540.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    steps: Annotated[int, typer.Option(min=1, help="Steps of the whole run; all schedules stretch with it.")] = 5000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 32,
    photos: Annotated[Path | None, typer.Option(help="Photo folder; by default the data set's, if there.")] = None,
    cache: Annotated[
        Path, typer.Option(help="Prepared pictures and the run's state; a new folder starts anew.")
    ] = CACHE,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to go on from, at full resolution.")] = None,
    checkpoint: Annotated[Path, typer.Option(help="Where the checkpoint is written.")] = CHECKPOINT,
    drawn: Annotated[int, typer.Option(min=1, help="Garments to draw for the composites, and scenes.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, pictures and their order.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the model; 0 leaves it to PyTorch.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches; 0: in this one.")] = 1,
    dev_scenes: Annotated[int, typer.Option(min=0, help="Scenes, apart from those trained on, to decide by.")] = 300,
    save_every: Annotated[float, typer.Option(help="Seconds between two saves.")] = 180.0,
) -> None:
    """Train the embedded checkpoint, or go on with a run that was stopped."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    with bad_input_ends_command():
        for folder in (cache, checkpoint):
            if folder.exists() and not folder.is_dir():
                raise BadInputError(f"{folder} is a file; name a folder")
        plan = Plan(steps, batch_size=batch_size, seed=seed, save_every_s=save_every)
        plan, model = (plan.onward(), load_checkpoint(start)[0]) if start else (plan, new_model(new_config()))
        pool, dev = prepared_pool(photos or (PHOTOS if PHOTOS.is_dir() else None), cache, drawn, seed)
        trainer = Trainer(model, plan, cache / "progress.pt")

        judged = time.monotonic()

        def saved(step: int) -> None:
            nonlocal judged
            model, shift = trainer.averaged(), 0.0
            if step == steps or time.monotonic() - judged > DEV_EVERY_S:
                samples = dev_samples(model, dev, dev_scenes, MOST_DEV_PHOTOS)
                if step == steps:
                    shift = fitted(samples, DEFAULT_THRESHOLD)
                    apply(model, shift)
                    tqdm.write(f'the logit of "nothing" moves by {shift:g}')
                tqdm.write(f"step {step}: {samples.report(shift, DEFAULT_THRESHOLD)}")
                judged = time.monotonic()
            save_checkpoint(model, checkpoint)

        if trainer.step:
            tqdm.write(f"going on from step {trainer.step} in {cache}; a new run needs another --cache")
        losses = list(trainer.run(pool, workers, saved))
        if not losses:  # killed between the last state and the checkpoint made of it
            saved(steps)
        else:
            tqdm.write(f"loss: {np.mean(losses[:10]):.3f} in the first steps, {np.mean(losses[-10:]):.3f} in the last")


def prepared_pool(photos: Path | None, cache: Path, drawn: int, seed: int) -> tuple[Pool, Bank | None]:
    """The pictures to train on and the dev photos: made by the first call, read from the cache by later ones.

    Raises BadInputError where the photo folder is missing, empty or holds an unreadable image.
    """
    if photos is not None:
        list_photos(photos)  # reports bad input before minutes of drawing
    garments, backdrops = build_drawn_banks(cache / "drawn.bin", cache / "backdrops.bin", drawn, seed, _cores())
    scenes = build_scene_bank(cache / "scenes.bin", drawn, seed, _cores())
    if photos is None:
        return Pool(None, garments, backdrops, scenes), None
    train_path, dev_path = cache / "photos_train.bin", cache / "photos_dev.bin"
    if not (stored(train_path) and stored(dev_path)):
        build_photo_banks(photos, train_path, dev_path, _cores())
    return Pool(Bank(train_path), garments, backdrops, scenes), Bank(dev_path)


def _cores() -> int:
    return os.cpu_count() or 1


if __name__ == "__main__":
    app()
