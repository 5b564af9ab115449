"""Which servers are compared, how each is started, and the check that all do the same work. For `bench.serving`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import httpx
from pydantic import BaseModel, ValidationError

from bench.load.plan import JPEG
from bench.processes import Processes
from bench.service import ROOT, Service, own_node
from bench.serving import environments
from bench.serving.peers import detector
from serve_app.detection.agreement import compare
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.ports import free_port
from serve_app.schemas import DEFAULT_THRESHOLD, Detection, ImageSize
from serve_app.settings import DEFAULT_ARTIFACT

_READY_TIMEOUT_S = 120.0
# Every contender has to answer every request of the heaviest load. By default ours refuses what would wait too long.
_PATIENT = 256
_PATIENT_ROUTER = {
    "onnx_fraction": 1.0,
    "shadow_fraction": 0.0,
    "max_inflight": _PATIENT,
    "max_uploads": _PATIENT,
    "options": {"max_ongoing_requests": _PATIENT, "max_queued_requests": _PATIENT},
}


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


class Setup(NamedTuple):
    """The same for all: engine threads, the photo that they get, and where environments of peers are kept."""

    threads: int
    photo: bytes
    environments: Path


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


@contextlib.contextmanager
def running(name: Name, setup: Setup) -> Iterator[Contender]:
    """A contender for the length of a `with` block. Raises ConfigurationError when it does not start."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        start = _ours if name in _MODES else _server
        with start(name, setup, Path(folder)) as (url, processes, failure):
            yield Contender(name, url, processes, _first_reply(url, setup.photo, failure))


_Started = Iterator[tuple[str, Processes, Callable[[], str | None]]]


@contextlib.contextmanager
def _ours(name: Name, setup: Setup, folder: Path) -> _Started:
    """The shipped configuration with all traffic on ONNX, and queues as long as the other servers'."""
    with own_node(folder, _MODES[name]) as node:
        processes = Processes(node.pid)
        queue = {"options": {"max_queued_requests": _PATIENT}}
        onnx = {"threads": setup.threads, "inferences_at_once": detector.WORKERS, **queue}
        Service(node).deploy(Router=_PATIENT_ROUTER, OnnxDeployment=onnx)
        try:
            yield node.http_url, processes, lambda: None
        finally:
            processes.thaw()  # a stopped node would have to be killed


@contextlib.contextmanager
def _server(name: Name, setup: Setup, folder: Path) -> _Started:
    """One of `bench.serving.peers`, as the leader of a session, so that all its processes can be ended."""
    python = environments.python_of(name, setup.environments) if name in PEERS else Path(sys.executable)
    port, log = free_port(), folder / "server.log"
    own = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python.parent}:{os.environ.get('PATH', '')}",
        detector.PORTS: f"{port},{free_port()},{free_port()}",
        detector.THREADS: str(setup.threads),
        detector.ARTIFACT: str(ROOT / DEFAULT_ARTIFACT),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
    }
    command = [str(python), "-m", f"bench.serving.peers.{name}_server"]
    with log.open("wb") as output, contextlib.ExitStack() as ending:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | own, stdout=output, stderr=output, start_new_session=True
        )
        ending.callback(process.wait)
        ending.callback(process.kill)
        processes = Processes(process.pid)
        ending.callback(processes.end)
        yield f"http://127.0.0.1:{port}", processes, lambda: None if process.poll() is None else _last_words(log)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it gave no reason"]
    return f"it ended while starting: {lines[-1][:300]}"


def _first_reply(url: str, photo: bytes, failure: Callable[[], str | None]) -> Reply:
    deadline, last = time.monotonic() + _READY_TIMEOUT_S, "no connection"
    with httpx.Client(base_url=url, headers={"Content-Type": JPEG}, timeout=30, trust_env=False) as client:
        while time.monotonic() < deadline:
            if reason := failure():
                raise ConfigurationError(reason)
            with contextlib.suppress(httpx.TransportError, ValidationError):
                response = client.post("/detect", content=photo)
                last = f"{response.status_code} {response.text[:200]}"
                if response.is_success:
                    return Reply.model_validate_json(response.content)
            time.sleep(0.2)
    raise ConfigurationError(f"no answer to the photo within {_READY_TIMEOUT_S:g} s: {last}")


def require_same(reference: Reply, own: Reply) -> None:
    """Raise ConfigurationError, with the difference, if a contender does not do the same work as the reference."""
    if own.image != reference.image:
        raise ConfigurationError(f"it decoded an image of {own.image.width}x{own.image.height}")
    found = compare(reference.detections, own.detections, reference.image, DEFAULT_THRESHOLD)
    if not found.agrees or len(own.detections) != len(reference.detections):
        raise ConfigurationError(f"only {found.matched} of {len(reference.detections)} detections match bare's")
