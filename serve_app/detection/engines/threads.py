"""Thread settings that a library reads only while it loads. Called before an engine is imported.

The callers are the deployments and the export.
"""

import os

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def reserve(threads: int, spinning: bool) -> None:
    """Set the number of this process's OpenMP and MKL threads. Has no effect on libraries that are loaded already.

    With `spinning`, OpenMP's default, a waiting thread keeps its core busy for a while; on idle cores it reacts faster.
    Without it, waiting threads sleep: on shared cores a spinning thread takes the core from the one it waits for.
    """
    for name in _COUNTS:
        os.environ[name] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE" if spinning else "PASSIVE"
    os.environ["KMP_BLOCKTIME"] = "200" if spinning else "0"  # milliseconds; Intel's OpenMP reads this instead
