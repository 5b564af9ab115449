"""`python -m bench.chaos`: faults and overload on a service of its own; rewrites the tables of docs/reliability.md."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bench.chaos import table
from bench.chaos.clients import Target
from bench.chaos.deadline import past_deadline
from bench.chaos.faults import Round, freeze_replicas, kill_replicas, kill_routers
from bench.chaos.overload import Overload, overload
from bench.service import ROOT, Service, artifact_of_the_checkout
from serve_app.local.node import running
from serve_app.local.ports import Ports, free_port

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_DOCUMENT = ROOT / "docs/reliability.md"
_FREEZE_S = 6.0


def main(
    times: Annotated[int, typer.Option(help="How often each replica is killed.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of the storm, and of the measurement before it.")] = 20.0,
    write: Annotated[bool, typer.Option(help="Put the tables into docs/reliability.md.")] = True,
) -> None:
    """Kill, freeze and overload the service, and write down what its clients saw."""
    artifact_of_the_checkout()
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), ports) as node:
        service = Service(node)
        target = Target(service.url, _PHOTO.read_bytes())
        load = overload(service, target, seconds)
        late = past_deadline(service, _PHOTO.read_bytes())
        rounds = _rounds(service, target, times)
    text = table.render(_facts(), rounds, load, late)
    typer.echo(text)
    if write:
        table.put_into(_DOCUMENT, text)
    _judge(rounds, load)


def _rounds(service: Service, target: Target, times: int) -> list[Round]:
    onnx, torch = ["OnnxDeployment"], ["TorchDeployment"]
    return [
        kill_replicas(service, target, "SIGKILL of the ONNX replica", onnx * times),
        kill_replicas(service, target, "SIGKILL of the Torch replica", torch * times),
        kill_replicas(service, target, "SIGKILL of both in turn", (onnx + torch) * max(times // 2, 1)),
        freeze_replicas(service, target, onnx + torch, _FREEZE_S),
        kill_routers(service, target, times),
    ]


def _facts() -> str:
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f"Measured {datetime.now(UTC):%Y-%m-%d} on {cores} cores, load average {load:.1f} at the end."


def _judge(rounds: list[Round], load: Overload) -> None:
    """Fail the command where a promise was broken that does not depend on the machine."""
    broken = [one.name for one in rounds[:-1] if one.failed]
    if broken or load.neither:
        typer.echo(f"broken promises: {broken}, {len(load.neither)} requests neither answered nor refused", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
