"""A JSON body becomes an image and its options. Called by `http.request_body`, in a thread.

A JSON parser makes objects of everything it is sent, fifty bytes for two and more. Here it sees little: long strings,
such as the image, are cut out first, and more than 10 kB beside them are refused. The image is decoded from the body
itself. All of it takes at most three times the body's size in memory.
"""

import json
from typing import Any

from serve_app.errors import MalformedRequest
from serve_app.http import base64_image
from serve_app.http.fields import single_values
from serve_app.http.options import NAMES

_IMAGE = "image_base64"
_LONGEST_REST, _LONG, _LONGEST_NUMBER = 10_000, 1_000, 100
# Stands for a string that was cut out. No option can have this value, and no other field is accepted: in a body that is
# accepted, it stands in the place of the image.
_CUT = "(long text {})"
_BLANK, _BETWEEN_STRINGS = b" \t\r\n", b":,}]"


def parse_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """The image and the options as they were given. Raises MalformedRequest that names what is wrong."""
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):  # which may begin with a byte order mark
        raise MalformedRequest(f"the JSON body is {encoding}: send UTF-8")
    kept, long = _long_strings(body)
    beside = len(body) - sum(map(len, long.values()))
    if beside > _LONGEST_REST:
        raise MalformedRequest(f"the JSON has {beside} bytes beside the image, the limit is {_LONGEST_REST}")
    content = _parsed(kept, encoding)
    if not isinstance(content, dict):
        raise MalformedRequest(f"the JSON body must be an object with {_IMAGE}")
    values = single_values(content.items(), (_IMAGE, *NAMES), "JSON field")
    encoded = values.pop(_IMAGE, None)
    if not isinstance(encoded, str):
        raise MalformedRequest(f"the JSON body needs {_IMAGE}, a string")
    if encoded in long:
        return base64_image.decode(long[encoded], _IMAGE, json_escaped=True), values
    return base64_image.decode(encoded.encode(errors="replace"), _IMAGE), values


def _long_strings(body: bytes) -> tuple[bytes, dict[str, memoryview]]:
    """The body with a short text in the place of each long string, and those strings by that text.

    What stands between two strings begins with a sign of structure, after blanks, and is never cut out.
    """
    kept, long, at, cut = bytearray(), dict[str, memoryview](), 0, 0
    quote = body.find(b'"')
    while quote >= 0 and quote - cut < _LONGEST_REST:
        start, end = quote + 1, body.find(b'"', quote + 1)
        if end - start > _LONG and body[start : start + _LONG].lstrip(_BLANK)[:1] not in _BETWEEN_STRINGS:
            text = _CUT.format(len(long))
            kept += body[at:start] + text.encode()
            long[text] = memoryview(body)[start:end]
            at, cut = end, cut + end - start
        quote = end
    return bytes(kept + body[at : at + _LONGEST_REST]), long


def _parsed(text: bytes, encoding: str) -> Any:
    try:
        return json.loads(
            text.decode(encoding), object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant
        )
    except UnicodeDecodeError:
        raise MalformedRequest("the JSON body is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not valid JSON: {error.msg}") from None
    except RecursionError:
        raise MalformedRequest("the body is not valid JSON: it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:  # a parser would let the last one win
            raise MalformedRequest(f"JSON field {name[:80]!r} is given twice: send it once")
        content[name] = value
    return content


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise MalformedRequest(f"the JSON has a number of {len(digits)} digits, the limit is {_LONGEST_NUMBER}")
    return int(digits)


def _constant(name: str) -> float:
    raise MalformedRequest(f"the body is not valid JSON: {name} is no number")
