"""Who is compared, how each is started, and the proof that it answers as the others do. For `bench.serving`."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from bench.processes import Processes
from bench.service import ROOT, Service
from bench.serving import environments
from bench.serving.peers import detector
from serve_app.detection.agreement import compare
from serve_app.errors import ConfigurationError
from serve_app.local.modes import Mode
from serve_app.local.node import running as running_node
from serve_app.local.ports import Ports, free_port
from serve_app.schemas import Detection, ImageSize
from serve_app.settings import DEFAULT_ARTIFACT, DEFAULT_THRESHOLD

_READY_TIMEOUT_S = 120.0
# Every contender shall answer every request of the heaviest load; by default ours refuses what would wait too long.
_PATIENT = 256


class Name(StrEnum):
    """The contenders; `bare` is what the others are measured against."""

    bare = "bare"
    ours_simple = "ours-simple"
    ours_fast = "ours-fast"
    litserve = "litserve"
    bentoml = "bentoml"
    mlserver = "mlserver"


PEERS = (Name.litserve, Name.bentoml, Name.mlserver)


class Setup(NamedTuple):
    """The same for all: engine threads, the photo that they get, and where environments of peers are kept."""

    threads: int
    photo: bytes
    environments: Path


class Reply(BaseModel):
    """What every contender answers; more fields may be there."""

    image: ImageSize
    detections: list[Detection]


class Contender(NamedTuple):
    """A server that answers."""

    name: Name
    host: str
    port: int
    processes: Processes
    reply: Reply


@contextlib.contextmanager
def running(name: Name, setup: Setup) -> Iterator[Contender]:
    """A contender for the length of a `with` block. Raises ConfigurationError when it does not come up."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        match name:
            case Name.ours_simple:
                started = _ours(Mode.simple, setup, Path(folder))
            case Name.ours_fast:
                started = _ours(Mode.fast, setup, Path(folder))
            case _:
                started = _server(name, setup, Path(folder))
        with started as (url, processes, failure):
            reply = _first_reply(url, setup.photo, failure)
            address = urlsplit(url)
            yield Contender(name, address.hostname or "", address.port or 80, processes, reply)


_Started = Iterator[tuple[str, Processes, Callable[[], str | None]]]


@contextlib.contextmanager
def _ours(mode: Mode, setup: Setup, folder: Path) -> _Started:
    """The shipped configuration with all traffic on ONNX, and queues that hold what the others' hold."""
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    with running_node(folder, ports, mode) as node:
        processes = Processes(node.pid)
        service = Service(node)
        service.deploy(
            Router={
                "onnx_fraction": 1.0,
                "shadow_fraction": 0.0,
                "max_inflight": _PATIENT,
                "max_uploads": _PATIENT,
                "options": {"max_ongoing_requests": _PATIENT, "max_queued_requests": _PATIENT},
            },
            OnnxDeployment={
                "threads": setup.threads,
                "inferences_at_once": detector.WORKERS,
                "options": {"max_queued_requests": _PATIENT},
            },
        )
        try:
            yield node.http_url, processes, lambda: None
        finally:
            processes.thaw()  # a stopped node would have to be killed


@contextlib.contextmanager
def _server(name: Name, setup: Setup, folder: Path) -> _Started:
    """One of `bench.serving.peers`, in a session of its own."""
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
    with _session(command, folder, os.environ | own, log) as process:
        processes = Processes(process.pid)
        try:
            yield f"http://127.0.0.1:{port}", processes, lambda: None if process.poll() is None else _last_words(log)
        finally:
            processes.end()


@contextlib.contextmanager
def _session(
    command: list[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program in a session of its own, whose leader ends with the `with` block, whatever interrupts it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["no word why"]
    return f"it ended while starting: {lines[-1][:300]}"


def _first_reply(url: str, photo: bytes, failure: Callable[[], str | None]) -> Reply:
    deadline, last = time.monotonic() + _READY_TIMEOUT_S, "nobody listens"
    while time.monotonic() < deadline:
        if reason := failure():
            raise ConfigurationError(reason)
        with contextlib.suppress(httpx.TransportError):
            response = httpx.post(
                f"{url}/detect", content=photo, headers={"Content-Type": "image/jpeg"}, timeout=30, trust_env=False
            )
            last = f"{response.status_code} {response.text[:200]}"
            if response.is_success:
                with contextlib.suppress(ValidationError):
                    return Reply.model_validate_json(response.content)
        time.sleep(0.2)
    raise ConfigurationError(f"no answer to the photo within {_READY_TIMEOUT_S:g} s: {last}")


def difference(reference: Reply, own: Reply) -> str | None:
    """Why a contender must not be measured: it does not do the same work. None if it does."""
    if own.image != reference.image:
        return f"it saw an image of {own.image.width}x{own.image.height}"
    found = compare(reference.detections, own.detections, reference.image, DEFAULT_THRESHOLD)
    if found.agrees and len(own.detections) == len(reference.detections):
        return None
    return f"its answer differs: {found.matched} of {len(reference.detections)} detections match"
