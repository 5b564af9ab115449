"""`python -m training.scenes`: draws the sample images of `demo/photos` and the boxes that go with them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from training.commands import bad_input_ends_command
from training.errors import BadInputError
from training.labels import LABELS
from training.scenes.scene import Scene, render_scene

FOLDER = Path(__file__).parents[2] / "demo" / "photos"
JPEG_QUALITY = 88
# Seed, width, height, garments. The sizes cover what phones and web shops send: portrait, landscape, square, narrow.
SAMPLES: tuple[tuple[int, int, int, tuple[str, ...]], ...] = (
    (21, 900, 1200, ("top, t-shirt, sweatshirt",)),
    (22, 1200, 900, ("pants", "shoe")),
    (23, 1000, 1000, ("dress", "hat", "shoe")),
    (24, 768, 1360, ("coat", "pants", "shoe")),
    (25, 1600, 1000, ("skirt", "top, t-shirt, sweatshirt", "hat", "shoe")),
    (26, 600, 800, ("shorts",)),
    (27, 1280, 960, ("shorts", "top, t-shirt, sweatshirt", "coat", "skirt", "shoe")),
    (28, 1080, 1440, ("dress", "coat")),
)


def main(folder: Annotated[Path, typer.Option(help="Where the images and boxes.json are written.")] = FOLDER) -> None:
    """Draw the sample images and write their boxes to boxes.json."""
    with bad_input_ends_command():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            boxes = {}
            for number, (seed, width, height, names) in enumerate(SAMPLES, start=1):
                scene = render_scene(seed, width, height, [LABELS.index(name) for name in names])
                name = f"scene-{number}.jpg"
                Image.fromarray(scene.pixels).save(folder / name, quality=JPEG_QUALITY)
                boxes[name] = described(scene)
            (folder / "boxes.json").write_text(json.dumps(boxes, indent=2) + "\n")
        except OSError as error:
            raise BadInputError(f"{folder} cannot be written ({error.strerror}): pass another --folder") from error


def described(scene: Scene) -> list[dict[str, object]]:
    """The scene's objects as plain data, in the shape of the service's detections."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [{"label": LABELS[item.label], "box": dict(zip(sides, item.box, strict=True))} for item in scene.objects]


if __name__ == "__main__":
    typer.run(main)
