"""What a request's body may be, by its Content-Type. Called by `http.request_body`, `form_body` and `openapi`."""

from starlette.datastructures import Headers

from serve_app.errors import UnsupportedMediaType

# What the API documents, and then what clients send for the same bytes. Which format an image really has is read from
# the image itself, by the decoder, which also names those it cannot read.
RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
_ALSO_RAW = (
    "",  # no Content-Type at all
    "binary/octet-stream",
    "image/*",
    "image/jpg",
    "image/pjpeg",
    "image/x-png",
    "image/avif",
    "image/avif-sequence",
    "image/heic",
    "image/heic-sequence",
    "image/heif",
    "image/heif-sequence",
)
FORM_TYPE, JSON_TYPE = "multipart/form-data", "application/json"
_KNOWN = (*RAW_TYPES, FORM_TYPE, JSON_TYPE)


def media_type(headers: Headers) -> str:
    """The Content-Type in lower case and without parameters. Raises UnsupportedMediaType for one that is not taken."""
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in (*_KNOWN, *_ALSO_RAW):
        raise UnsupportedMediaType(f"content type {given[:80]!r}: send {', '.join(_KNOWN)}")
    return given


def refuse_compression(headers: Headers, where: str = "the body") -> None:
    """Raise UnsupportedMediaType for a Content-Encoding other than identity."""
    given = ",".join(headers.getlist("content-encoding"))
    if {coding.strip().lower() for coding in given.split(",")} - {"", "identity"}:
        raise UnsupportedMediaType(f"Content-Encoding {given[:80]!r}: send {where} as it is (identity)")
