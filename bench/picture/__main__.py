"""`python -m bench.picture`: some minutes of a rollout on a node of our own, drawn as the decision dashboard shows it.

The split goes from 10 to 50 %, and towards the end the ONNX replica is killed. Needs Debian's package `prometheus`.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from bench.picture.drawing import Source, draw
from bench.service import ROOT, Service, artifact_of_the_checkout
from serve_app.local import monitor
from serve_app.local.node import running
from serve_app.local.ports import Ports, free_port

_PHOTO = ROOT / "demo/photos/scene-1.jpg"
_POLICY = {"shadow_fraction": 0.5}


@contextmanager
def clients(url: str, count: int) -> Iterator[None]:
    """Clients that ask one request after the other until the end of the block."""
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not done.is_set():
                client.post("/detect", content=_PHOTO.read_bytes(), headers={"Content-Type": "image/jpeg"})

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def roll_out(service: Service, minutes: float) -> None:
    """Raise the share of ONNX, then lose its replica."""
    for fraction in (0.1, 0.5):
        service.deploy(Router={**_POLICY, "onnx_fraction": fraction})
        time.sleep(60 * minutes / 3)
    [pid] = service.pids()["OnnxDeployment"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(60 * minutes / 3)


def main(
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("docs/decide.png"),
    minutes: Annotated[float, typer.Option(help="Length of the run.")] = 4.5,
    count: Annotated[int, typer.Option("--clients", help="Clients that ask all the time.")] = 2,
) -> None:
    """Run, watch with Prometheus, draw."""
    artifact_of_the_checkout()
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    with tempfile.TemporaryDirectory() as temporary, running(Path(temporary) / "node", ports) as node:
        service = Service(node)
        service.deploy()
        folder = Path(temporary) / "prometheus"
        monitor.write_config(node, folder)
        with monitor.prometheus(folder, free_port()) as url, clients(service.url, count):
            time.sleep(20)
            began = time.time()
            roll_out(service, minutes)
            caption = (
                f"{count} clients on {os.cpu_count()} cores; dotted: the split was changed; "
                f"at {minutes * 2 / 3:.0f} min the ONNX replica was killed"
            )
            draw(Source(url, began, time.time()), out, caption)
    typer.echo(f"{out} written")


if __name__ == "__main__":
    typer.run(main)
