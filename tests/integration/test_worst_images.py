"""The worst images that a client can send, all at once: good photos are answered, and memory stays bounded."""

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.integration.conftest import JPEG, Service
from tests.unit.detection import hostile

pytestmark = pytest.mark.integration

MOST_BYTES = 900 << 20
# What is refused by its header, and what is decoded because it is within every limit
WORST: dict[str, Callable[[], bytes]] = {
    "a thousand scans": lambda: hostile.scan_bomb(7000, 7000, 1000),
    "many scans": lambda: hostile.scan_bomb(7000, 7000, 32),
    "a column of pixels": lambda: hostile.png(1, 50_000_000),
    "a small file of a large WebP": lambda: hostile.lossless_webp(16_383, 16_383),
    "a large WebP": lambda: hostile.encoded(Image.new("RGB", (3700, 3700)), "WEBP", method=0),
    "a large PNG": lambda: hostile.encoded(Image.new("RGBA", (7000, 7000)), "PNG"),
    "a large AVIF": lambda: hostile.encoded(Image.new("RGB", (4000, 3000)), "AVIF", speed=10),
    "a phone's largest picture": lambda: hostile.flat_jpeg(16_320, 12_240),
    "all coefficients in memory": lambda: hostile.encoded(
        Image.new("RGB", (6400, 6400)), "JPEG", progressive=True, subsampling=0
    ),
}


@pytest.fixture(scope="module")
def worst() -> list[bytes]:
    """Twelve bodies, five of which are refused at once."""
    made = [make() for make in WORST.values()]
    return [*made, *made[:3]]


@contextmanager
def peak_memory(pids: dict[str, list[int]]) -> Iterator[dict[str, int]]:
    """The most memory that each backend has at any moment of the block, in bytes."""
    peaks: dict[str, int] = {}
    backends = {name: pid for name, [pid] in pids.items() if name != "Router"}
    for pid in backends.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    yield peaks
    for name, pid in backends.items():
        status = Path(f"/proc/{pid}/status").read_text()
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        peaks[name] = int(kilobytes) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of another process")
@pytest.mark.parametrize("onnx_fraction", [0.0, 1.0])
def test_good_photos_are_answered_while_the_worst_images_arrive(
    service: Service, photo: bytes, worst: list[bytes], onnx_fraction: float
) -> None:
    service.deploy(Router={"onnx_fraction": onnx_fraction})

    def post(data: bytes) -> httpx.Response:
        return httpx.post(f"{service.url}/detect", content=data, headers=JPEG, timeout=120, trust_env=False)

    with peak_memory(service.pids()) as peaks, ThreadPoolExecutor(15) as pool:
        bad = [pool.submit(post, data) for data in worst]
        # As many places of the router are free as photos come: it takes twelve requests at once, whatever they are.
        refused = [bad[at].result().status_code for at in (0, 2, 3, 9, 11)]
        good = [pool.submit(post, photo) for _ in range(3)]
        assert {each.result().status_code for each in good} == {200}
        answers = [each.result() for each in bad]
    assert {each.status_code for each in answers} <= {200, 413, 503, 504}
    assert refused == [413] * 5
    assert max(peaks.values()) < MOST_BYTES, peaks
    assert post(photo).status_code == 200


def test_a_heic_is_named(service: Service) -> None:
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    answer = httpx.post(f"{service.url}/detect", content=data, headers=JPEG, timeout=60, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "HEIC" in answer.json()["detail"]


def test_an_avif_is_answered_by_both_backends(service: Service, photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(photo)
    with Image.open(tmp_path / "photo") as image:
        data, size = hostile.encoded(image.convert("RGB"), "AVIF", speed=10), image.size
    for fraction in (0.0, 1.0):
        service.deploy(Router={"onnx_fraction": fraction})
        answer = httpx.post(f"{service.url}/detect", content=data, headers=JPEG, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["image"] == {"width": size[0], "height": size[1]}
