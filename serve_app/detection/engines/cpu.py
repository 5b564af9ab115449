"""What the CPU offers: cores for this process, and instructions for each precision. Asked by engines and export.

Without the instructions, libraries emulate silently: int8 without VNNI is slower than fp32 and may saturate on AVX2,
bf16 is converted to fp32 and back. The backend would just look slow.
"""

import os
import platform
from pathlib import Path

from serve_app.errors import ConfigurationError

_CPUINFO = Path("/proc/cpuinfo")
# CPU flags, as /proc/cpuinfo names them; one of each set is enough.
_WANTED = {
    "int8": {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
}


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require(precision: str) -> None:
    """Raise ConfigurationError if this CPU would have to emulate `precision`."""
    wanted = _WANTED.get(precision)
    if wanted is None:
        return
    if not _CPUINFO.is_file():
        raise ConfigurationError(f"precision {precision}: cannot tell what this CPU supports; use precision fp32")
    if not wanted & _flags(_CPUINFO.read_text()):
        raise ConfigurationError(
            f"precision {precision}: this {platform.machine()} CPU has none of {', '.join(sorted(wanted))} and would "
            "emulate it slowly; use precision fp32"
        )


def _flags(cpuinfo: str) -> set[str]:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # on x86, on Arm
            return set(value.split())
    return set()
