"""Memory that was freed goes back to the system. Used after large images, which would otherwise stay in the heap."""

import ctypes
from collections.abc import Callable


def _trim() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # only glibc keeps so much, and only it has this
        return lambda _: 0
    return trim


give_back = _trim()
