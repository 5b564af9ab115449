"""`python -m serve_app.local up|down|split`: the service on one machine.

`make serve`, `make stop` and `make split` call it.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from serve_app import use_onnx
from serve_app.config.fraction import write_fraction
from serve_app.config.serve_file import incomparable, load_config
from serve_app.errors import ConfigurationError
from serve_app.local import deploy, node
from serve_app.local.modes import Mode
from serve_app.local.polling import Clock, attempts
from serve_app.local.ports import Ports, require_free

_READY_TIMEOUT_S = 300
_SPLIT_TIMEOUT_S = 30
_PORT_TIMEOUT_S = 5
_SAMPLE = "demo/photos/scene-2.jpg"

commands = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
T = TypeVar("T")
Config = Annotated[Path, typer.Option("--config", help="The Serve config file.")]
Folder = Annotated[Path, typer.Option("--folder", help="Where the running node is remembered.")]
_CONFIG, _FOLDER = Path("serve_config.yaml"), Path(".run")


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        typer.secho(error.detail, fg="red", err=True)
        raise typer.Exit(1) from None


def _warn_of(content: dict[str, Any]) -> None:
    _warn([*incomparable(content), *use_onnx.warnings(os.environ, content)])


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)


def _step(message: str, action: Callable[[], T], clock: Clock = time) -> T:
    typer.echo(f"  {message:<42}", nl=False)
    began = clock.monotonic()
    try:
        result = action()
    except BaseException:
        typer.echo("failed")
        raise
    typer.echo(f"{clock.monotonic() - began:6.1f} s")
    return result


@commands.command()
def up(
    config: Config = _CONFIG,
    folder: Folder = _FOLDER,
    mode: Annotated[Mode, typer.Option(help="fast: behind HAProxy, tuned for throughput.")] = Mode.simple,
    dashboard_port: Annotated[int, typer.Option(help="Where Ray's dashboard takes deploys.")] = 8265,
    metrics_port: Annotated[int, typer.Option(help="Where Ray's agent shows metrics.")] = 8090,
) -> None:
    """Start Ray, deploy the config and wait until both backends have reported."""
    with _clear_errors():
        _require_file(config)
        content = load_config(config)
        _warn_of(content)
        if _already_running(folder, mode):
            return
        http_port = content.get("http_options", {}).get("port", 8000)
        ports = Ports(http=http_port, dashboard=dashboard_port, metrics=metrics_port)
        _require_free_ports(ports)
        running = _step("Ray", lambda: node.start(folder, ports, mode))
        try:
            _step("deploy (imports the application)", lambda: deploy.deploy(running, content))
            state = _step("backends", lambda: deploy.wait_until(running, _both_reported, _READY_TIMEOUT_S))
        except BaseException:
            _step("failed: stopping what was started", lambda: _shut_down(running))
            raise
        _write_environment(running)
        _introduce(running, state)


def _require_file(config: Path) -> None:
    if not config.is_file():
        where = config.absolute()
        raise ConfigurationError(f"no config file at {where}; run this in the checkout, or name the file with --config")


def _require_free_ports(ports: Ports) -> None:
    remedies = {
        "http": "set http_options.port in the config",
        "dashboard": "use --dashboard-port",
        "metrics": "use --metrics-port",
    }
    for name, remedy in remedies.items():
        port = getattr(ports, name)
        require_free(port, name, f"see which with: ss -ltnp 'sport = :{port}', or {remedy}")


def _already_running(folder: Path, mode: Mode) -> bool:
    earlier = node.remembered(folder)
    if earlier is None:
        return False
    if state := deploy.readiness(earlier):
        if earlier.mode is not mode:
            raise ConfigurationError(f"already running, in {earlier.mode} mode; end it first: make stop")
        typer.echo("already running")
        _introduce(earlier, state)
        return True
    if earlier.processes():
        where = folder.absolute()
        raise ConfigurationError(
            f"the node that was started with {where} still has processes but does not answer; end it with: make stop"
        )
    node.stop(earlier)
    return False


def _both_reported(state: dict[str, Any]) -> bool:
    return all(backend["state"] != "starting" for backend in state["backends"].values())


def _introduce(running: node.Node, state: dict[str, Any]) -> None:
    fraction = state["policy"]["onnx_fraction"]
    for name, backend in state["backends"].items():
        details = backend.get("reason") or f"{backend['engine']}, {backend['precision']}, {backend['threads']} threads"
        typer.secho(f"{name}: {backend['state']} ({details})", fg="green" if backend["state"] == "ready" else "yellow")
    _warn(deploy.refusals(state))
    typer.echo(f"""
The service is at {running.http_url}, {fraction:.0%} of the traffic assigned to ONNX.

  try it         curl -s {running.http_url}/detect -H 'Content-Type: image/jpeg' --data-binary @{_SAMPLE}
  all to ONNX    make split ONNX=1        (edits serve_config.yaml and deploys it)
  roll back      make split ONNX=0
  status         curl -s {running.http_url}/readyz
  stop           make stop""")


def _write_environment(running: node.Node) -> None:
    lines = [
        f"export RAY_ADDRESS={running.dashboard_url} RAY_DASHBOARD_ADDRESS={running.dashboard_url}",
        f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={running.folder / 'auth_token'}",
    ]
    (running.folder / "env").write_text("\n".join(lines) + "\n")


@commands.command()
def down(folder: Folder = _FOLDER) -> None:
    """Stop what `up` started, and nothing else."""
    with _clear_errors():
        running = node.remembered(folder)
        if running is None:
            typer.echo(node.nothing_runs(folder))
            return
        _step("stopping", lambda: _shut_down(running))


def _shut_down(running: node.Node, clock: Clock = time) -> None:
    """End the node and wait until its HTTP port is free. Raises ConfigurationError if another program has the port."""
    node.stop(running, clock)
    # The system may still close the sockets of a process that is no longer listed.
    for _ in attempts(_PORT_TIMEOUT_S, 0.1, clock):
        with suppress(ConfigurationError):
            return _require_http_port(running)
    return _require_http_port(running)


def _require_http_port(running: node.Node) -> None:
    require_free(running.ports.http, "http", "it was not started by make serve")


@commands.command()
def split(
    onnx: Annotated[float, typer.Argument(help="Share of the traffic for ONNX, 0 to 1.")],
    config: Config = _CONFIG,
    folder: Folder = _FOLDER,
) -> None:
    """Write the fraction into the config file, deploy it and wait until the router uses it."""
    with _clear_errors():
        running = deploy.require_answering(folder)
        _require_file(config)
        content = write_fraction(config, onnx)
        _warn_of(content)
        state = _step(f"onnx_fraction {onnx:g}", lambda: _deploy_and_wait(running, content, onnx))
        _warn(deploy.refusals(state))


def _deploy_and_wait(running: node.Node, content: dict[str, Any], onnx: float) -> dict[str, Any]:
    deploy.deploy(running, content)
    return deploy.wait_until(running, lambda state: bool(state["policy"]["onnx_fraction"] == onnx), _SPLIT_TIMEOUT_S)


if __name__ == "__main__":
    commands()
