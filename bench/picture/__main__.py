"""`python -m bench.picture`: some minutes of a rollout on its own node, drawn as the decision dashboard shows them.

The split goes from 10 to 50 %, and towards the end the ONNX replica is killed. Needs Debian's package `prometheus`.
"""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from bench import command
from bench.load.generator import clients
from bench.load.plan import Target
from bench.picture.drawing import Source, draw
from bench.service import ROOT, Service, artifact_of_the_checkout, own_node
from serve_app.local import monitor
from serve_app.local.ports import free_port

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_POLICY = {"shadow_fraction": 0.5}


def roll_out(service: Service, minutes: float) -> None:
    """Raise the share of ONNX, then kill its replica."""
    for fraction in (0.1, 0.5):
        service.deploy(Router={**_POLICY, "onnx_fraction": fraction})
        time.sleep(60 * minutes / 3)
    [pid] = service.pids()["OnnxDeployment"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(60 * minutes / 3)


def main(
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("docs/decide.png"),
    minutes: Annotated[float, typer.Option(min=1, help="Length of the run.")] = 4.5,
    count: Annotated[int, typer.Option("--clients", min=1, help="Clients that send all the time.")] = 2,
) -> None:
    """Run a rollout, watch it with Prometheus, draw it."""
    with command.one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        command.require_matplotlib()
        artifact_of_the_checkout()
        _run(Path(temporary), out, minutes, count)
    typer.echo(f"{out} written")


def _run(folder: Path, out: Path, minutes: float, count: int) -> None:
    with own_node(folder / "node") as node:
        service = Service(node)
        service.deploy()
        monitor.write_config(node, folder / "prometheus")
        target = Target(service.url, _PHOTO.read_bytes(), keep_alive=True)
        with monitor.prometheus(folder / "prometheus", free_port()) as url, clients(target, count):
            time.sleep(20)
            began = time.time()
            roll_out(service, minutes)
            caption = (
                f"{count} clients on {os.cpu_count()} cores; dotted: the split was changed; "
                f"at {minutes * 2 / 3:.0f} min the ONNX replica was killed"
            )
            draw(Source(url, began, time.time()), out, caption)


if __name__ == "__main__":
    typer.run(main)
