"""Thread settings that a library reads only while it loads. Called before an engine is imported.

The callers are the deployments and the export.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITING = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def reserve(threads: int, spinning: bool) -> None:
    """Set the number of this process's OpenMP and MKL threads. Has no effect on libraries that are loaded already.

    With `spinning`, OpenMP's default, a waiting thread keeps its core busy for a while; on idle cores it reacts faster.
    Without it, waiting threads sleep: on shared cores a spinning thread takes the core from the one it waits for.
    """
    for name in _COUNTS:
        os.environ[name] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE" if spinning else "PASSIVE"
    os.environ["KMP_BLOCKTIME"] = "200" if spinning else "0"  # milliseconds; Intel's OpenMP reads this instead


@contextmanager
def put_back_on_failure() -> Iterator[None]:
    """If the body raises, leave the environment as it was: what `reserve` set was meant for an engine that never came.

    The engine that goes on answering may load a library only at its next image, and its children inherit all of it.
    """
    before = {name: os.environ.get(name) for name in (*_COUNTS, *_WAITING)}
    try:
        yield
    except BaseException:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        raise
