"""`python -m demo.draw PHOTO... --out picture.png`: send photos to the running service and draw its detections."""

import sys
from pathlib import Path
from typing import Annotated

import httpx
import typer
from PIL import Image, ImageDraw, ImageFont, ImageOps
from pydantic import ValidationError

from serve_app.detection.model.checkpoint import read_spec
from serve_app.schemas import Detection, DetectResponse, Problem

CHECKPOINT = Path(__file__).parent / "checkpoint"
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
_HEIGHT = 480
_GAP = 12


class DrawingError(Exception):
    """No picture can be made; the message is one line that names the cause and the remedy."""


def ask(url: str, photo: Path, threshold: float | None) -> DetectResponse:
    """Send one photo to `POST /detect`. Raises DrawingError if it cannot be read or the answer is no detections."""
    parameters = {} if threshold is None else {"threshold": threshold}
    try:
        response = httpx.post(
            f"{url}/detect",
            content=photo.read_bytes(),
            params=parameters,
            headers={"Content-Type": "application/octet-stream"},
            timeout=60,
        )
    except OSError as error:
        raise DrawingError(f"{photo}: {error.strerror}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DrawingError(f"{url} does not answer ({error}); start the service with: make serve") from None
    if response.is_error:
        raise DrawingError(f"{photo}: {url} answered {response.status_code}: {_told(response)}")
    try:
        return DetectResponse.model_validate_json(response.content)
    except ValidationError:
        raise DrawingError(f"{url} did not answer with detections; is this service running there?") from None


def _told(response: httpx.Response) -> str:
    """The detail of a problem document, or the plain text of an answer that is none."""
    try:
        return Problem.model_validate_json(response.content).detail
    except ValidationError:
        return response.text.strip()[:200] or response.reason_phrase


def draw(photo: Path, answer: DetectResponse, height: int = _HEIGHT) -> Image.Image:
    """The photo, `height` pixels high, with a box and a caption for every detection."""
    with Image.open(photo) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = height / image.height
    image = image.resize((round(image.width * scale), height))
    canvas = ImageDraw.Draw(image)
    labels = read_spec(CHECKPOINT).labels
    for detection in reversed(answer.detections):  # the best detection is drawn last, over the others
        colour = _COLOURS[labels.index(detection.label) % len(_COLOURS)] if detection.label in labels else _COLOURS[0]
        _draw_one(canvas, detection, scale, colour)
    _caption(canvas, (6, height - 24), f"answered by {answer.backend}", "#202020")
    return image


def _draw_one(canvas: ImageDraw.ImageDraw, detection: Detection, scale: float, colour: str) -> None:
    box = detection.box
    corners = [edge * scale for edge in (box.xmin, box.ymin, box.xmax, box.ymax)]
    canvas.rectangle(corners, outline=colour, width=3)
    _caption(canvas, (corners[0], max(corners[1] - 19, 0)), f"{detection.label} {detection.score:.2f}", colour)


def _caption(canvas: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    font = ImageFont.load_default(14)
    left, top, right, bottom = canvas.textbbox(at, text, font=font)
    canvas.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=colour)
    canvas.text(at, text, fill="white", font=font)


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """The pictures in one row on white."""
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + _GAP
    return row


def main(
    photos: Annotated[list[Path], typer.Argument(help="Images to send.")],
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("detections.png"),
    url: Annotated[str, typer.Option(help="Where the service is.")] = "http://127.0.0.1:8000",
    threshold: Annotated[float | None, typer.Option(help="Lowest score to draw.")] = None,
) -> None:
    """Draw the service's detections into a picture."""
    try:
        _check_target(out)
        drawn = [draw(photo, ask(url, photo, threshold)) for photo in photos]
        side_by_side(drawn).save(out)
    except DrawingError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from None
    typer.echo(f"wrote {out}")


def _check_target(out: Path) -> None:
    if out.suffix.lower() not in Image.registered_extensions():
        raise DrawingError(f"{out}: not a name for a picture; end it in .png or .jpg")
    if not out.parent.is_dir():
        raise DrawingError(f"{out}: there is no folder {out.parent.absolute()}; create it or choose another --out")


if __name__ == "__main__":
    typer.run(main)
