"""`python -m training.evaluate`: how well the checkpoint finds and names clothes, on drawn scenes and on photos.

Scenes come from seeds that training never uses. Photos have a label (their folder) but no box. GrabCut finds the box;
photos without a plausible segmentation are left out and counted. A detection is true at IoU >= 0.5 whatever its label;
the label is judged separately, on the objects located.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from serve_app.schemas import DEFAULT_THRESHOLD
from training.checkpoint import CHECKPOINT, load_checkpoint
from training.coco import mean_precision
from training.commands import bad_input_ends_command
from training.photo_folder import Photo, list_photos, read_photo
from training.scenes import render_scene
from training.scoring import Boxes, Score, detect, true_boxes
from training.segment import segment_garment

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "clothing" / "validation"
FIRST_SCENE = 7_000_000
MOST_ELONGATED = 1.7

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Example(NamedTuple):
    """An RGB picture and what it shows."""

    pixels: NDArray[np.uint8]
    true: Boxes


class Row(NamedTuple):
    """One line of the table."""

    title: str
    images: int
    score: Score
    average_precision: float
    average_precision_at_half: float


@app.command()
def evaluate(
    photos: Annotated[Path | None, typer.Option(help="Photos in one folder per kind of garment.")] = None,
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint folder.")] = CHECKPOINT,
    scenes: Annotated[int, typer.Option(min=0, help="How many scenes to draw.")] = 300,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least score of a detection.")] = DEFAULT_THRESHOLD,
) -> None:
    """Print recall, precision, label accuracy and COCO mAP for scenes and for a folder of photos."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    with bad_input_ends_command():
        model, processor = load_checkpoint(checkpoint)
        folder = photos or (PHOTOS if PHOTOS.is_dir() else None)
        listed = list_photos(folder) if folder else []

        def row(title: str, examples: Iterable[Example]) -> Row:
            pairs = [(example.true, detect(model, processor, example.pixels)) for example in examples]
            return judged(title, pairs, threshold)

        rows = [row("scenes", drawn_examples(scenes))] if scenes else []
        if listed:
            rows.append(row("photos", photo_examples(listed)))
    console.print(table(rows, threshold))
    if listed:
        console.print(f"{len(listed) - rows[-1].images} of {len(listed)} photos left out: no plausible segmentation")
    else:
        console.print("no photos: pass a folder with --photos")


def judged(title: str, pairs: list[tuple[Boxes, Boxes]], threshold: float) -> Row:
    """Score (true, found) pairs: counts at the threshold, mAP over all scores."""
    score = Score()
    for true, found in pairs:
        score = score.plus(true, found.above(threshold))
    return Row(title, len(pairs), score, *mean_precision(pairs))


def drawn_examples(count: int) -> Iterator[Example]:
    """Scenes of fixed seeds in sizes and shapes drawn from those seeds."""
    for seed in tqdm(range(FIRST_SCENE, FIRST_SCENE + count), desc="scenes", unit="scene", disable=None):
        rng = np.random.default_rng(seed)
        short = int(rng.integers(280, 520))
        sides = [short, int(short * rng.uniform(1.0, MOST_ELONGATED))]
        width, height = sides if rng.random() < 0.4 else sides[::-1]
        scene = render_scene(seed, width, height)
        labels, boxes = [item.label for item in scene.objects], [item.box for item in scene.objects]
        yield Example(scene.pixels, true_boxes(labels, boxes))


def photo_examples(photos: list[Photo]) -> Iterator[Example]:
    """The photos whose garment GrabCut finds. Raises BadInputError for an unreadable one."""
    for photo in tqdm(photos, desc="photos", unit="photo", disable=None):
        pixels = read_photo(photo.path)
        segment = segment_garment(pixels)
        if segment is not None:
            yield Example(pixels, true_boxes([photo.label], [segment.box]))


def table(rows: list[Row], threshold: float) -> Table:
    """The figures as a table."""
    shown = Table(title=f"IoU 0.5, threshold {threshold:g}")
    for heading in ("data", "images", "objects", "recall", "precision", "label accuracy", "mAP", "mAP at 0.5"):
        shown.add_column(heading, justify="left" if heading == "data" else "right")
    for row in rows:
        shares = (row.score.recall, row.score.precision, row.score.label_accuracy)
        precisions = (row.average_precision, row.average_precision_at_half)
        figures = [f"{value:.3f}" for value in (*shares, *precisions)]
        shown.add_row(row.title, str(row.images), str(row.score.objects), *figures)
    return shown


if __name__ == "__main__":
    app()
