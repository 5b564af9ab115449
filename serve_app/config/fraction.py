"""Changing `onnx_fraction` in a Serve config file. Called by `make split`."""

import re
from pathlib import Path
from typing import Any

from serve_app.config.serve_file import load_config
from serve_app.errors import ConfigurationError

_FRACTION = re.compile(r"^(\s*onnx_fraction:\s*)(\S+)", re.MULTILINE)


def write_fraction(config: Path, onnx: float) -> dict[str, Any]:
    """Write the share of ONNX, keep comments and all else, and return the checked content.

    Raises ConfigurationError, and leaves the file as it was, if the result would not be valid.
    """
    try:
        before = config.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"{config.absolute()}: {reason}") from None
    after, count = _FRACTION.subn(rf"\g<1>{onnx}", before)
    if count != 1:
        raise ConfigurationError(f"{config}: expected one onnx_fraction, found {count}; edit it by hand")
    candidate = config.with_suffix(".new.yaml")
    candidate.write_text(after)
    try:
        content = load_config(candidate)
        candidate.replace(config)
    except ConfigurationError as error:
        raise ConfigurationError(error.detail.replace(str(candidate), str(config))) from None
    finally:
        candidate.unlink(missing_ok=True)
    return content
