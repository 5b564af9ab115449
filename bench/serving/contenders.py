"""Which servers are compared, how each is started, and the check that all do the same work. For `bench.serving`."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import httpx
from pydantic import BaseModel, ValidationError

from bench.engines.subjects import WORK
from bench.load.plan import JPEG
from bench.processes import Processes, uninterrupted
from bench.service import ROOT, Service, own_node
from bench.serving.peers import detector
from serve_app.detection.agreement import compare
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.polling import attempts
from serve_app.local.ports import free_port
from serve_app.schemas import DEFAULT_THRESHOLD, Detection, ImageSize
from serve_app.settings import DEFAULT_ARTIFACT

THREADS = 2  # of ONNX Runtime, in each worker of each server
PHOTO = ROOT / "demo/photos/scene-3.jpg"  # the body of every request
_READY_TIMEOUT_S = 120.0
# Every contender has to answer every request of the heaviest load. By default ours refuses what would wait too long.
_PATIENT = 256
_QUEUE = {"max_ongoing_requests": _PATIENT, "max_queued_requests": _PATIENT}
_ROUTER = {"onnx_fraction": 1.0, "max_inflight": _PATIENT, "max_uploads": _PATIENT, "options": _QUEUE}
PINS = Path(__file__).with_name("peers")


class Name(StrEnum):
    """The contenders; `bare` is what the others are measured against."""

    bare = "bare"
    ours_simple = "ours-simple"
    ours_fast = "ours-fast"
    litserve = "litserve"
    bentoml = "bentoml"
    mlserver = "mlserver"


PEERS = (Name.litserve, Name.bentoml, Name.mlserver)
_MODES = {Name.ours_simple: Mode.simple, Name.ours_fast: Mode.fast}


class Reply(BaseModel):
    """The part of an answer that all contenders have."""

    image: ImageSize
    detections: list[Detection]


class Contender(NamedTuple):
    """A server that answers."""

    name: Name
    url: str
    processes: Processes
    reply: Reply


_Started = Iterator[tuple[str, Processes, Callable[[], str | None]]]


@contextlib.contextmanager
def running(name: Name) -> Iterator[Contender]:
    """A contender for the length of a `with` block. Raises ConfigurationError when it does not start."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        start = _ours if name in _MODES else _server
        with start(name, Path(folder)) as (url, processes, failure):
            yield Contender(name, url, processes, _first_reply(url, failure))


@contextlib.contextmanager
def _ours(name: Name, folder: Path) -> _Started:
    """The shipped configuration with all traffic on ONNX, and queues as long as the other servers'."""
    with own_node(folder, _MODES[name]) as node, contextlib.ExitStack() as ending:
        processes = Processes(node.pid)
        ending.callback(processes.thaw)  # a stopped node would have to be killed
        onnx = {"threads": THREADS, "inferences_at_once": detector.WORKERS, "options": _QUEUE}
        Service(node).deploy(Router=_ROUTER, OnnxDeployment=onnx)
        yield node.http_url, processes, lambda: None


@contextlib.contextmanager
def _server(name: Name, folder: Path) -> _Started:
    """One of `bench.serving.peers`, as the leader of a session, so that all its processes can be ended."""
    python = _python_of(name) if name in PEERS else Path(sys.executable)
    port, log = free_port(), folder / "server.log"
    own = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python.parent}:{os.environ.get('PATH', '')}",
        detector.PORTS: f"{port},{free_port()},{free_port()}",
        detector.THREADS: str(THREADS),
        detector.ARTIFACT: str(ROOT / DEFAULT_ARTIFACT),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
    }
    command = [str(python), "-m", f"bench.serving.peers.{name}_server"]
    with log.open("wb") as output, contextlib.ExitStack() as ending:
        with uninterrupted():
            process = subprocess.Popen(
                command, cwd=folder, env=os.environ | own, stdout=output, stderr=output, start_new_session=True
            )
            ending.callback(process.wait)
            ending.callback(process.kill)
            processes = Processes(process.pid)
            ending.callback(processes.end)

        def last_words() -> str | None:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it gave no reason"]
            return None if process.poll() is None else f"it ended while starting: {lines[-1][:300]}"

        yield f"http://127.0.0.1:{port}", processes, last_words


def _python_of(peer: Name) -> Path:
    """The interpreter of an environment of the peer's own, as its pinned versions conflict with the project's."""
    environment = WORK / "peers" / peer
    python = environment / "bin/python"
    if not python.exists():
        install = f"{python} -m pip install -r {PINS.relative_to(ROOT) / peer}.txt"
        raise ConfigurationError(f"it has no environment; run: python -m venv {environment} && {install}")
    return python.absolute()


def version_of(peer: Name) -> str:
    """Which release of a peer its pins name."""
    lines = (PINS / f"{peer}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{peer}=="))


def _first_reply(url: str, failure: Callable[[], str | None]) -> Reply:
    last, photo = "no connection", PHOTO.read_bytes()
    with httpx.Client(base_url=url, headers={"Content-Type": JPEG}, timeout=30, trust_env=False) as client:
        for _ in attempts(_READY_TIMEOUT_S, 0.2):
            if reason := failure():
                raise ConfigurationError(reason)
            with contextlib.suppress(httpx.TransportError, ValidationError):
                response = client.post("/detect", content=photo)
                last = f"{response.status_code} {response.text[:200]}"
                if response.is_success:
                    return Reply.model_validate_json(response.content)
    raise ConfigurationError(f"no answer to the photo within {_READY_TIMEOUT_S:g} s: {last}")


def require_same(reference: Reply, own: Reply) -> None:
    """Raise ConfigurationError, with the difference, if a contender does not do the same work as the reference."""
    if own.image != reference.image:
        raise ConfigurationError(f"it decoded an image of {own.image.width}x{own.image.height}")
    found = compare(reference.detections, own.detections, reference.image, DEFAULT_THRESHOLD)
    if not found.agrees or len(own.detections) != len(reference.detections):
        raise ConfigurationError(f"only {found.matched} of {len(reference.detections)} detections match bare's")
