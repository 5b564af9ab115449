"""The images that cost a backend most, and good photos that arrive with them. Used by `bench.chaos`."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from PIL import Image

from bench.chaos.overload import resident_bytes
from bench.load.generator import send
from bench.load.plan import OK, Sent, Target
from bench.service import Service

_EACH = 3
_PHOTOS = 3
_SIDE = 7000  # 49 million pixels, just under `max_pixels`
_SCANS = 1000


class Worst(NamedTuple):
    """What became of the good photos and of the worst images, and the largest memory of one replica."""

    good: Sequence[Sent]
    bad: Sequence[Sent]
    largest_bytes: int

    @property
    def unanswered(self) -> list[Sent]:
        """The photos that got no 200."""
        return [sent for sent in self.good if sent.status != OK]


def worst_images(service: Service, photo: Target) -> Worst:
    """Send twelve of them at once and three photos after them; wait for all the answers."""
    service.deploy(Router={"onnx_fraction": 0.5})
    bad = [photo._replace(body=body, headers={"Content-Type": kind}) for body, kind in _bodies() * _EACH]
    with ThreadPoolExecutor(len(bad) + _PHOTOS) as pool, resident_bytes(service, max) as readings:
        sent = [answer[0] for answer in pool.map(lambda target: send(target, 1), [*bad, *[photo] * _PHOTOS])]
    return Worst(sent[len(bad) :], sent[: len(bad)], max(readings))


def _bodies() -> list[tuple[bytes, str]]:
    flat = Image.new("RGB", (_SIDE, _SIDE), "white")
    progressive = _encoded(flat, "JPEG", progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return [
        (progressive, "image/jpeg"),
        (progressive[:-2] + last_scan * _SCANS + progressive[-2:], "image/jpeg"),
        (_encoded(Image.new("L", (1, 50_000_000)), "PNG"), "image/png"),
        (_encoded(flat, "WEBP", lossless=True), "image/webp"),
    ]


def _encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **how)
        return buffer.getvalue()
