"""`python -m demo.draw`: a picture of what the service answers, and one line for whatever else it meets."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from demo.draw import CHECKPOINT, draw, main
from serve_app.detection.model.checkpoint import read_spec
from serve_app.schemas import Box, Detection, DetectResponse, ImageSize, Problem

FOUND = DetectResponse(
    request_id="1",
    backend="onnx",
    assigned="onnx",
    image=ImageSize(width=60, height=80),
    detections=[Detection(label="hat", score=0.9, box=Box(xmin=10, ymin=10, xmax=50, ymax=60))],
)
PROBLEM = Problem(title="Busy", status=503, detail="all queues are full", code="overloaded", request_id="1")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (60, 80), "white").save(path)
    return path


@pytest.fixture
def run(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    app = typer.Typer()
    app.command()(main)

    def run(status: int = 200, content: str = FOUND.model_dump_json(), out: str = "out.png") -> tuple[int, str]:
        monkeypatch.setattr(httpx, "post", lambda *_, **__: httpx.Response(status, text=content))
        result = CliRunner().invoke(app, [str(photo), "--out", str(tmp_path / out)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stderr

    return run


def test_the_picture_shows_the_box_at_its_place(run: Run, tmp_path: Path) -> None:
    assert run() == (0, "")
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size == (360, 480)  # 480 pixels high, the photo's proportions
        assert drawn.getpixel((60, 200)) != (255, 255, 255)  # xmin 10 of 60 is 60 of 360
        assert drawn.getpixel((180, 200)) == (255, 255, 255)


def test_each_label_of_the_demo_checkpoint_has_a_colour_of_its_own(photo: Path) -> None:
    box = Box(xmin=10, ymin=30, xmax=50, ymax=60)

    def colour(label: str) -> object:
        answer = FOUND.model_copy(update={"detections": [Detection(label=label, score=0.9, box=box)]})
        return draw(photo, answer).getpixel((60, 300))  # on the left edge of the box

    labels = read_spec(CHECKPOINT).labels
    assert len({colour(label) for label in labels}) == len(labels) == 8
    assert colour("a label of another checkpoint") == colour(labels[0])


@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (503, PROBLEM.model_dump_json(), "answered 503: all queues are full"),
        (500, "Internal Server Error", "answered 500: Internal Server Error"),
        (502, '{"error": "foreign"}', 'answered 502: {"error": "foreign"}'),
        (404, "", "answered 404: Not Found"),
        (200, "<html>", "did not answer with detections"),
    ],
)
def test_any_other_answer_is_one_line(run: Run, status: int, content: str, told: str) -> None:
    code, error = run(status, content)
    assert (code, error.count("\n")) == (2, 1)
    assert told in error


@pytest.mark.parametrize(("out", "told"), [("out.xyz", "end it in .png"), ("nowhere/out.png", "there is no folder")])
def test_a_place_that_cannot_be_written_is_told(run: Run, out: str, told: str) -> None:
    code, error = run(out=out)
    assert code == 2
    assert told in error


def test_an_invalid_url_is_told(photo: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(photo), "--url", "http://127.0.0.1:abc", "--out", str(photo)])
    assert result.exit_code == 2
    assert "does not answer" in result.stderr
