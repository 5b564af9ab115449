"""matplotlib, which only the plots need: asked for before minutes of measuring, not after. Called by the benchmarks."""

from importlib.util import find_spec

from serve_app.errors import ConfigurationError


def require_matplotlib() -> None:
    """Raise ConfigurationError, with the command that installs it, where it is missing."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("matplotlib is missing; run: .venv/bin/pip install -c constraints.txt -e '.[bench]'")
