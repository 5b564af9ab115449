"""Changing `onnx_fraction` in a Serve config file. Called by `make split`."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from serve_app.config.document import read_text
from serve_app.config.serve_file import check_config
from serve_app.errors import ConfigurationError

_FRACTION = re.compile(r"^(\s*onnx_fraction:\s*)(\S+)", re.MULTILINE)


def write_fraction(config: Path, onnx: float) -> dict[str, Any]:
    """Write the share of ONNX, keep comments and all else, and return the checked content.

    Raises ConfigurationError, and leaves the file as it was, if the result would not be valid or cannot be written.
    """
    before = read_text(config)
    number = yaml.safe_dump(onnx).split()[0]  # YAML takes Python's 1e-05 for text
    after, count = _FRACTION.subn(rf"\g<1>{number}", before)
    if count != 1:
        raise ConfigurationError(f"{config}: expected one onnx_fraction, found {count}; edit it by hand")
    content = check_config(after, config)
    try:
        _replace(config.resolve(), after)
    except OSError as error:
        raise ConfigurationError(f"{config.absolute()}: cannot be written: {error.strerror}") from None
    return content


def _replace(config: Path, text: str) -> None:
    """Put a whole new file in the place of the old one, which is never half written."""
    with tempfile.NamedTemporaryFile(dir=config.parent, prefix=f".{config.name}.", delete=False) as fresh:
        candidate = Path(fresh.name)
        try:
            fresh.write(text.encode())
            fresh.close()
            shutil.copymode(config, candidate)
            candidate.replace(config)
        finally:
            candidate.unlink(missing_ok=True)
