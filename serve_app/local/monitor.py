"""`python -m serve_app.local.monitor`: Prometheus for the running service, with the shipped rules and alerts.

`make monitor` calls it. The tests use the same functions, with other ports and shorter intervals.
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
from serve_app.local.polling import Clock, attempts
from serve_app.local.ports import require_free

SHIPPED = Path("configs/prometheus")
_DISCOVERY = "prom_metrics_service_discovery.json"
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10


def discovery_file(running: node.Node) -> Path:
    """The file in which this node's Ray lists its metrics agents.

    The link in /tmp/ray would not do: it leads to the Ray that was started last on this machine.
    """
    for process in running.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            for argument in process.cmdline():
                if argument.startswith("--session-dir="):
                    return Path(argument.partition("=")[2]) / _DISCOVERY
    raise ConfigurationError("no process of the node names its Ray session; see whether the service runs: make serve")


def write_config(running: node.Node, folder: Path, shipped: Path = SHIPPED) -> None:
    """Write the shipped files into `folder`, with this node's addresses in place of the default ones.

    Raises ConfigurationError if `shipped` does not hold them.
    """
    try:
        config: dict[str, Any] = yaml.safe_load((shipped / "prometheus.yml").read_text())
    except OSError as error:
        where = (shipped / "prometheus.yml").absolute()
        raise ConfigurationError(
            f"{where}: {error.strerror}; run this in the checkout, or name its configs/prometheus with --shipped"
        ) from None
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["detect"]["static_configs"][0]["targets"] = [running.http_url.removeprefix("http://")]
    jobs["ray"]["file_sd_configs"][0]["files"] = [str(discovery_file(running))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in config["rule_files"]:
        shutil.copy(shipped / name, folder / name)


@contextlib.contextmanager
def prometheus(folder: Path, port: int, clock: Clock = time) -> Iterator[str]:
    """Run Prometheus with the files in `folder` for the length of a `with` block. Gives its URL; data stay in `folder`.

    Raises ConfigurationError if it is not installed or does not come up.
    """
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
            _await_ready(process, url, folder / "prometheus.log", clock)
            yield url
        finally:
            _end(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path, clock: Clock) -> None:
    for _ in attempts(_START_TIMEOUT_S, 0.1, clock):
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).is_success:
                return
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
    shipped: Annotated[Path, typer.Option(help="The folder with prometheus.yml, its rules and alerts.")] = SHIPPED,
) -> None:
    """Start Prometheus on the running service and keep it until Ctrl-C."""
    try:
        running = deploy.require_answering(folder)
        require_free(port, "Prometheus", "choose another with --port")
        write_config(running, folder / "prometheus", shipped)
        with prometheus(folder / "prometheus", port) as url:
            # Set explicitly: a program that was started in the background inherits an ignored Ctrl-C.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                typer.echo(f"Prometheus is at {url} (alerts: {url}/alerts, targets: {url}/targets). Ctrl-C ends it.")
                signal.pause()
    except ConfigurationError as error:
        typer.secho(error.detail, fg="red", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
