"""`python -m bench.chaos`: faults and overload on a service of its own, for docs/reliability.md."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import command
from bench.chaos import table
from bench.chaos.faults import Round, hang, kill_replicas, kill_routers, past_deadline
from bench.chaos.hanging import Hanging
from bench.chaos.overload import Overload, overload
from bench.chaos.worst import Worst, worst_images
from bench.load.plan import Target
from bench.service import ROOT, Service, artifact_of_the_checkout, own_node
from serve_app.detection.engines import cpu

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_DOCUMENT = ROOT / "docs/reliability.md"
_HANG_S = 12.0
_SHARES = (0.1, 0.5)
_MOST_RATE = 20.0


def main(
    times: Annotated[int, typer.Option(min=1, help="How often each replica is killed.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of overload, and of the measurement of the capacity before it.")
    ] = 20.0,
    write: Annotated[bool, typer.Option(help="Put the tables into docs/reliability.md.")] = True,
) -> None:
    """Kill, hang and overload the service, and report what its clients saw."""
    artifact_of_the_checkout()
    with command.one_line_errors(), tempfile.TemporaryDirectory() as folder, own_node(Path(folder)) as node:
        service = Service(node)
        target = Target(service.url, _PHOTO.read_bytes())
        load = overload(service, target, seconds)
        late = past_deadline(service, target)
        rounds = _rounds(service, target, times)
        rate = min(load.capacity / 3, _MOST_RATE)
        hangs = _hangs(service, Hanging(node, Path(folder)), target, rate)
        worst = worst_images(service, target)
    text = table.render(_facts(), rounds, hangs, worst, load, late)
    typer.echo(text)
    if write:
        table.put_into(_DOCUMENT, text)
    _judge(rounds[:-1] + hangs, worst, load)


def _rounds(service: Service, target: Target, times: int) -> list[Round]:
    onnx, torch = ["OnnxDeployment"], ["TorchDeployment"]
    return [
        kill_replicas(service, target, "SIGKILL of the ONNX replica", onnx * times),
        kill_replicas(service, target, "SIGKILL of the Torch replica", torch * times),
        kill_replicas(service, target, "SIGKILL of both in turn", (onnx + torch) * max(times // 2, 1)),
        kill_routers(service, target, times),
    ]


def _hangs(service: Service, engines: Hanging, target: Target, rate: float) -> list[Round]:
    kinds = [(victim, share) for victim in ("OnnxDeployment", "TorchDeployment") for share in _SHARES]
    frozen = [hang(service, target, rate, victim, share, _HANG_S) for victim, share in kinds]
    return frozen + [hang(engines, target, rate, victim, share, _HANG_S, engines.hang) for victim, share in kinds]


def _facts() -> str:
    load, cores = os.getloadavg()[0], cpu.cores()
    return f"Measured {datetime.now(UTC):%Y-%m-%d} on {cores} cores, load average {load:.1f} at the end."


def _judge(rounds: list[Round], worst: Worst, load: Overload) -> None:
    """End with status 1 if a guarantee that does not depend on the machine was broken."""
    broken = [one.name for one in rounds if one.failed] + ["the worst images"] * bool(worst.unanswered)
    if broken or load.neither:
        lost = f"requests failed during: {', '.join(broken) or 'no fault'}"
        typer.echo(f"error: {lost}; {len(load.neither)} requests were neither answered nor refused", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
