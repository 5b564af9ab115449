"""Decodes one AVIF from stdin in a process of its own, and writes mode and pixels to stdout. Started by `avif`.

A file may promise a small picture and hold a frame of 268 million pixels: only the decoder finds out, after it has
allocated it. Here the system refuses that memory. The process knows nothing of the service.
"""

import io
import resource
import sys
from pathlib import Path

from PIL import AvifImagePlugin

BAD_DATA = 3  # exit status: the image is to blame; its reason is on stderr
_ROWS = 256


def main() -> int:
    """Decode within `sys.argv[1]` bytes of memory and `sys.argv[2]` seconds of processor time."""
    _limit(int(sys.argv[1]), int(sys.argv[2]))
    data = sys.stdin.buffer.read()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread would take memory and processors from other images
    try:
        with AvifImagePlugin.AvifImageFile(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, RuntimeError, MemoryError) as error:
        sys.stderr.write(str(error) or type(error).__name__)
        return BAD_DATA
    sys.stdout.buffer.write(image.mode.encode() + b"\n")
    for top in range(0, image.height, _ROWS):
        sys.stdout.buffer.write(image.crop((0, top, image.width, min(top + _ROWS, image.height))).tobytes())
    return 0


def _limit(memory: int, seconds: int) -> None:
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere than on Linux, the limit would not be kept
        memory += int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


if __name__ == "__main__":
    sys.exit(main())
