"""A multipart form becomes an image and its options. Called by `http.request_body`, in a thread.

Names are checked as the parts come, so a form of thousands of parts ends at the first that is wrong. The parts take at
most four times the body's size in memory.
"""

from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers

from serve_app.errors import MalformedRequest, UnsupportedMediaType
from serve_app.http import base64_image
from serve_app.http.fields import require_new
from serve_app.http.media_types import refuse_compression
from serve_app.http.options import NAMES

_KNOWN = ("image", *NAMES)
_PIECE = 65_536  # what the parser is given at once: the interpreter is free for others in between
_MOST_DELIMITERS = 32  # the parser walks through each byte by byte, also those that only look like one
_SHOWN = 200  # of an option's value


class _Part(NamedTuple):
    headers: Headers
    is_file: bool
    data: bytearray


def parse_form(content_type: str, body: bytes) -> tuple[bytes, dict[str, Any]]:
    """The image and the options as they were given. Raises MalformedRequest, or UnsupportedMediaType for an encoding.

    The part named `image` is the image, with or without a filename and a type. As text, it may be a `data:` URL.
    """
    parts = _parts(content_type, body)
    image = parts.pop("image", None)
    if image is None:
        raise MalformedRequest("the form needs a file field named image")
    for name, part in parts.items():
        if part.is_file:
            raise MalformedRequest(f"only the form field image may be a file, {name} is one too")
    values = {name: str(_content(name, part)[:_SHOWN], "utf-8", "replace") for name, part in parts.items()}
    return _content("image", image), values


def _parts(content_type: str, body: bytes) -> dict[str, _Part]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedRequest("the form cannot be read: Content-Type names no boundary, let the HTTP client set it")
    reader = _Reader()
    try:
        reader.read(boundary, body)
    except FormParserError as error:
        raise MalformedRequest(f"the form cannot be read: {error}") from None
    if not reader.ended:
        raise MalformedRequest("the form cannot be read: it ends without its closing boundary")
    return reader.parts


def _content(name: str, part: _Part) -> bytes:
    refuse_compression(part.headers, f"form field {name}")
    encoding = part.headers.get("content-transfer-encoding", "binary").strip().lower()
    if encoding == "base64" or (not part.is_file and part.data[:5].lower() == b"data:"):
        return base64_image.decode(part.data, name)
    if encoding not in ("binary", "8bit", "7bit"):
        raise UnsupportedMediaType(f"Content-Transfer-Encoding {encoding[:80]!r}: send form field {name} as it is")
    return bytes(part.data)


class _Reader:
    """What python-multipart calls, part by part."""

    def __init__(self) -> None:
        self.parts: dict[str, _Part] = {}
        self.ended = False
        self._name, self._value, self._data = b"", b"", bytearray()
        self._headers: list[tuple[bytes, bytes]] = []

    def read(self, boundary: bytes, body: bytes) -> None:
        """Feed the whole body to the parser. Raises FormParserError or MalformedRequest."""
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )
        delimiter, found, tail = b"\r\n--" + boundary, 0, b""
        for at in range(0, len(body), _PIECE):
            piece = body[at : at + _PIECE]
            window = tail + piece
            found += window.count(delimiter)
            if found > _MOST_DELIMITERS:
                raise MalformedRequest(f"the form has more than {_MOST_DELIMITERS} boundaries: send one image")
            tail = window[1 - len(delimiter) :]
            parser.write(piece)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._name.lower(), self._value))
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        headers = Headers(raw=list(self._headers))
        _, options = parse_options_header(headers.get("content-disposition"))
        if b"name" not in options:
            raise MalformedRequest("the form cannot be read: a part has no name in its Content-Disposition")
        name = str(options[b"name"], "utf-8", "replace")
        require_new(name, self.parts, _KNOWN, "form field")
        self._data = bytearray()
        self.parts[name] = _Part(headers, b"filename" in options, self._data)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
