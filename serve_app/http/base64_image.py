"""An image in base64, as clients really write it. Called by `http.json_body` and `http.form_body`.

Line breaks and blanks are passed over. The alphabet may be the URL-safe one, the padding may be missing, and a `data:`
URL may stand in front. The text is taken in pieces: a thread that decodes 20 MB never holds the interpreter for more
than about a millisecond, and needs 1.5 bytes of memory per byte of text.
"""

import binascii
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from urllib.parse import unquote_to_bytes

from serve_app.errors import MalformedRequest

_PIECE = 65_536
_LONGEST_HEAD = 1_000  # of a data: URL, up to its comma
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANK = b" \t\r\n\f\v"
_SCHEME = re.compile(rb"\s*([a-z][a-z0-9+.-]{0,40}):", re.IGNORECASE)
# A JSON encoder may escape "/" and "+", one character in 32 each, and line breaks; so may a percent-encoding. Text that
# is made of escapes is no base64 of theirs, and each of them takes a hundred times the time of a plain character.
_ESCAPES_ALWAYS, _ESCAPES_PER_BYTE = 100, 1 / 12


def decode(text: bytes | bytearray | memoryview, name: str, *, json_escaped: bool = False) -> bytes:
    """The bytes of the image that `text` holds; `name` is the field that it came in.

    `json_escaped` text is the inside of a JSON string, as it was sent. Raises MalformedRequest for what is not base64,
    and for any URL but a `data:` URL with base64: the service fetches nothing.
    """
    pieces: Iterator[bytes] = (bytes(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE))
    try:
        if json_escaped:
            pieces = _replaced(pieces, b"\\", 6, _json_text)
        pieces = _replaced(pieces, b"%", 3, unquote_to_bytes)
        first = next(pieces, b"")
        return _decoded(chain([first[_head(first, name) :]], pieces))
    except ValueError:  # also binascii.Error, and the Unicode errors
        raise MalformedRequest(f"{name} is not valid base64") from None


def _replaced(pieces: Iterator[bytes], mark: bytes, longest: int, replace: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The pieces without their escapes. One that begins with `mark` at a piece's end waits for the next piece."""
    held = b""
    for piece in pieces:
        piece = held + piece
        begun = piece.rfind(mark, max(0, len(piece) - longest + 1))
        end = len(piece) if begun < 0 else begun
        held = piece[end:]
        if piece.count(mark) > _ESCAPES_ALWAYS + len(piece) * _ESCAPES_PER_BYTE:
            raise ValueError("mostly escapes")
        yield replace(piece[:end]) if mark in piece[:end] else piece[:end]
    yield replace(held)


def _json_text(inside: bytes) -> bytes:
    text: str = json.loads(f'"{inside.decode("ascii")}"', strict=False)
    return text.encode("ascii")


def _head(text: bytes, name: str) -> int:
    """The length of a `data:` URL up to its data; 0 where the text is no URL."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return 0
    if scheme[1].lower() != b"data":
        raise MalformedRequest(
            f"{name} is a URL of the scheme {scheme[1].decode()}: the service fetches nothing, send the image itself"
        )
    comma = text.find(b",", 0, _LONGEST_HEAD)
    if not text[: max(comma, 0)].rstrip().lower().endswith(b";base64"):
        raise MalformedRequest(f"{name} is a data: URL without ';base64,' in its first {_LONGEST_HEAD} characters")
    return comma + 1


def _decoded(pieces: Iterator[bytes]) -> bytes:
    decoded, rest, padding = bytearray(), b"", 0
    for piece in pieces:
        piece = piece.translate(_URL_SAFE, _BLANK)
        text = piece.rstrip(b"=")
        if text and (padding or b"=" in text):
            raise ValueError("something stands after the padding")
        padding += len(piece) - len(text)
        text = rest + text
        whole = len(text) // 4 * 4
        decoded += binascii.a2b_base64(text[:whole], strict_mode=True)
        rest = text[whole:]
    missing = -len(rest) % 4
    if padding not in (0, missing):
        raise ValueError("wrong padding")
    decoded += binascii.a2b_base64(rest + b"=" * missing, strict_mode=True)
    return bytes(decoded)
