"""`python -m serve_app.local.monitor`: Prometheus on the running service, with the shipped files.

`make monitor` calls it; the tests use the same functions, with other ports and shorter intervals.
"""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
import yaml

from serve_app.errors import ConfigurationError
from serve_app.local import deploy, node
from serve_app.local.ports import require_free

SHIPPED = Path("configs/prometheus")
_DISCOVERY = "prom_metrics_service_discovery.json"
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10


def discovery_file(running: node.Node) -> Path:
    """Where this node's Ray lists its agents; the link in /tmp/ray names those of the Ray that was started last."""
    for process in running.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # gone meanwhile
            for argument in process.cmdline():
                if argument.startswith("--session-dir="):
                    return Path(argument.partition("=")[2]) / _DISCOVERY
    raise ConfigurationError("no process of Ray tells its session; is the service running?")


def write_config(running: node.Node, folder: Path, shipped: Path = SHIPPED) -> None:
    """Write the shipped files into `folder`, with this node's addresses in place of the default ones."""
    config: dict[str, Any] = yaml.safe_load((shipped / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["detect"]["static_configs"][0]["targets"] = [running.http_url.removeprefix("http://")]
    jobs["ray"]["file_sd_configs"][0]["files"] = [str(discovery_file(running))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in config["rule_files"]:
        shutil.copy(shipped / name, folder / name)


@contextlib.contextmanager
def prometheus(folder: Path, port: int) -> Iterator[str]:
    """Prometheus on the files in `folder`, for the length of a `with` block; gives its URL. Data stay in `folder`."""
    program = shutil.which("prometheus")
    if program is None:
        raise ConfigurationError("prometheus is not installed: apt-get install prometheus")
    url = f"http://127.0.0.1:{port}"
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _await_ready(process, url, folder / "prometheus.log")
            yield url
        finally:
            _end(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise ConfigurationError(f"Prometheus did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(
    port: Annotated[int, typer.Option(help="Where Prometheus listens.")] = 9090,
    folder: Annotated[Path, typer.Option(help="Where the running node is remembered.")] = Path(".run"),
) -> None:
    """Start Prometheus on the running service and keep it until Ctrl-C."""
    try:
        running = node.remembered(folder)
        if running is None or deploy.readiness(running) is None:
            raise ConfigurationError("nothing is running here; start it with: make serve")
        require_free(port, "Prometheus", "choose another with --port")
        write_config(running, folder / "prometheus")
        with prometheus(folder / "prometheus", port) as url:
            # Both set here: a program started in the background inherits an ignored Ctrl-C.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                typer.echo(f"Prometheus is at {url} (alerts: {url}/alerts, targets: {url}/targets). Ctrl-C ends it.")
                while True:
                    time.sleep(3600)
    except ConfigurationError as error:
        typer.secho(error.detail, fg="red", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
