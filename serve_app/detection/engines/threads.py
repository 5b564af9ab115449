"""Thread settings that a library reads only while it loads. Called by the deployments before an engine is imported."""

import os

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def reserve(threads: int, spinning: bool) -> None:
    """Set this process's OpenMP and MKL threads; a no-op for libraries that are loaded already.

    Without `spinning`, threads sleep while they wait. By default OpenMP's burn their core for a while: free on a
    machine of one's own, but on shared cores each barrier then waits for a thread that waits for a core.
    """
    for name in _COUNTS:
        os.environ[name] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE" if spinning else "PASSIVE"
    os.environ["KMP_BLOCKTIME"] = "200" if spinning else "0"  # Intel's OpenMP has its own name for it
