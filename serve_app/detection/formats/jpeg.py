"""JPEG: the segments that make its pixels, its scans, and the memory that they take. No pixel is decoded here.

libjpeg decodes the stream that is put together here, so nothing that this module passes over can cost time there.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve_app.detection.formats import orientation
from serve_app.detection.formats.encoded import Encoded
from serve_app.errors import InvalidImage

SIGNATURE = b"\xff\xd8\xff"
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_ALONE = {0x01, _START, *range(0xD0, 0xD8)}  # markers without a segment
_TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # Huffman, arithmetic, quantisation, number of lines, restart interval
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}
_ARITHMETIC = {0xC9, 0xCA}
_REDUCIBLE = {0xC0, 0xC1, *_PROGRESSIVE, *_ARITHMETIC}
# A value takes this many times as long to decode as with Huffman codes.
_ARITHMETIC_WORK = 16
# More than any camera or editor writes. The entropy-coded data of a scan does not count.
_MOST_SEGMENTS = 4_096
# Which bytes make a marker with the 0xff before them: not a stuffed 0, and in a scan no restart marker either.
_MARKER = np.array([0 < byte < 0xFF for byte in range(256)])
_MARKER_IN_SCAN = _MARKER & np.array([not 0xD0 <= byte <= 0xD7 for byte in range(256)])
_FIRST_WINDOW, _LARGEST_WINDOW = 64, 1 << 20


class _Segment(NamedTuple):
    marker: int
    payload: bytes
    coded: memoryview = memoryview(b"")  # the entropy-coded data that follows a scan's header

    @property
    def parts(self) -> tuple[bytes, memoryview]:
        length = (len(self.payload) + 2).to_bytes(2, "big")
        return b"\xff" + bytes([self.marker]) + length + self.payload, self.coded


class _Frame(NamedTuple):
    """The frame header; `samples` are the values of each component by its id, padded to whole blocks."""

    marker: int
    width: int
    height: int
    samples: dict[int, int]


def read(data: bytes) -> Encoded:
    """Walk the segments to the end of the image. Raises InvalidImage where libjpeg could not go on either."""
    kept: list[bytes | memoryview] = [SIGNATURE[:2]]
    frame, scans, metadata = None, [], []
    for segment in _segments(data):
        if segment.marker in _FRAMES:
            if frame is not None:
                raise InvalidImage("the JPEG has two frame headers")
            frame = _frame(segment)
        elif segment.marker == _SCAN:
            if frame is None:
                raise InvalidImage("the JPEG has a scan before its frame header")
            scans.append(_components(segment.payload, frame))
        elif segment.marker == 0xE1:
            metadata.append(segment.payload)
        if segment.marker == _END:
            kept.append(b"\xff\xd9")
        elif _makes_pixels(segment):
            kept += segment.parts
    if frame is None or not scans:
        raise InvalidImage("the JPEG is truncated: it has no scan")
    return _encoded(tuple(kept), frame, scans, metadata)


def _segments(data: bytes) -> Iterator[_Segment]:
    position, count = 2, 0
    # Bytes between segments are passed over, as libjpeg does.
    while (start := _find(data, position, _MARKER)) is not None:
        count += 1
        if count > _MOST_SEGMENTS:
            raise InvalidImage(f"the JPEG has more than {_MOST_SEGMENTS} segments")
        marker, position = data[start + 1], start + 2
        if marker in _ALONE:
            continue
        if marker == _END:
            yield _Segment(marker, b"")
            return
        end = position + int.from_bytes(data[position : position + 2], "big")
        if end < position + 2 or end > len(data):
            return  # truncated: the decoder says so, if pixels are missing
        payload, position = data[position + 2 : end], end
        coded = memoryview(b"")
        if marker == _SCAN:
            following = _find(data, end, _MARKER_IN_SCAN)
            position = len(data) if following is None else following
            without_fill_bytes = len(data[end:position].rstrip(b"\xff"))
            coded = memoryview(data)[end : end + without_fill_bytes]
        yield _Segment(marker, payload, coded)


def _find(data: bytes, start: int, follows: NDArray[np.bool_]) -> int | None:
    """Where the next 0xff with one of these bytes after it is. Whatever the data, this takes some ms for 20 MB."""
    window = _FIRST_WINDOW
    while start < len(data) - 1:
        seen = np.frombuffer(data, np.uint8, min(window + 1, len(data) - start), start)
        found = np.flatnonzero((seen[:-1] == 0xFF) & follows[seen[1:]])
        if found.size:
            return start + int(found[0])
        start, window = start + window, min(window * 16, _LARGEST_WINDOW)
    return None


def _makes_pixels(segment: _Segment) -> bool:
    marker, payload = segment.marker, segment.payload
    if marker == 0xE0:
        return len(payload) >= 14 and payload.startswith(b"JFIF\0")  # both decide the colour space
    if marker == 0xEE:
        return len(payload) >= 12 and payload.startswith(b"Adobe")
    return marker in _FRAMES or marker in _TABLES or marker == _SCAN


def _frame(segment: _Segment) -> _Frame:
    payload = segment.payload
    if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
        raise InvalidImage("the frame header of the JPEG is damaged")
    height, width = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
    components = [(payload[at], payload[at + 1] >> 4, payload[at + 1] & 15) for at in range(6, len(payload), 3)]
    if not (width and height and components) or any(not 1 <= side <= 4 for _, *sides in components for side in sides):
        raise InvalidImage("the frame header of the JPEG is damaged: no size, or no sampling factors")
    across, down = max(part[1] for part in components), max(part[2] for part in components)
    blocks_across, blocks_down = -(-width // (8 * across)), -(-height // (8 * down))
    samples = {name: 64 * blocks_across * x * blocks_down * y for name, x, y in components}
    if len(samples) != len(components):
        raise InvalidImage("the frame header of the JPEG names a component twice")
    return _Frame(segment.marker, width, height, samples)


def _components(payload: bytes, frame: _Frame) -> list[int]:
    names = list(payload[1::2])[: payload[0]] if payload else []
    if not names or len(payload) != 4 + 2 * payload[0] or not frame.samples.keys() >= set(names):
        raise InvalidImage("a scan header of the JPEG is damaged")
    return names


def _encoded(
    parts: tuple[bytes | memoryview, ...], frame: _Frame, scans: list[list[int]], metadata: list[bytes]
) -> Encoded:
    whole = sum(frame.samples.values())
    # Whatever libjpeg may find between the lines, it finds no more scans than these.
    hidden = max(b"".join(parts).count(b"\xff\xda") - len(scans), 0)
    samples = sum(frame.samples[name] for scan in scans for name in scan) + hidden * whole
    in_passes = frame.marker in _PROGRESSIVE or len(scans[0]) < len(frame.samples) or frame.marker not in _REDUCIBLE
    return Encoded(
        "JPEG",
        parts,
        frame.width,
        frame.height,
        pixel_bytes=1 if len(frame.samples) == 1 else 4,
        kept_bytes=2 * whole if in_passes else 0,  # libjpeg keeps the coefficients until the last scan
        orientation=_orientation(metadata),
        scans=len(scans) + hidden,
        samples=samples * (_ARITHMETIC_WORK if frame.marker in _ARITHMETIC else 1),
        scales=(1, 2, 4, 8) if frame.marker in _REDUCIBLE else (1,),
    )


def _orientation(metadata: list[bytes]) -> int:
    exif = (orientation.from_exif(block) for block in metadata if block.startswith(b"Exif\0\0"))
    xmp = (orientation.from_xmp(block) for block in metadata if block.startswith(b"http://ns.adobe.com/xap/1.0/\0"))
    return orientation.first([*exif, *xmp])
