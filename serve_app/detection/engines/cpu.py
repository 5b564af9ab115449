"""What this CPU can compute at full speed. Asked by the engines before they load an artifact of reduced precision.

Libraries fall back silently: int8 without VNNI is slower than fp32 and on older AVX2 saturates, bf16 without its
instructions is converted back and forth. Both would look like a slow candidate, not like a wrong machine.
"""

import platform
from pathlib import Path

from serve_app.errors import ConfigurationError

_CPUINFO = Path("/proc/cpuinfo")
_WANTED = {
    "int8": {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
}


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
        if name.strip() in ("flags", "Features"):  # x86's word, Arm's word
            return set(value.split())
    return set()
