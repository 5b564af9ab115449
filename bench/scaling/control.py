"""What replicas cost that nobody asks anything: the controller, `/metrics`, open files, Serve's list of replicas.

Used by `bench.scaling.measure`; `bench.scaling.model` computes from it what more nodes would cost.
"""

import pickle
import time
import uuid
from typing import NamedTuple

import httpx
import psutil

from bench.scaling import load, processes
from bench.scaling.bed import Bed, Layout
from serve_app.errors import ConfigurationError

_CALM_S = 1.0
_PAGES = 5
_TIMES = 3
_RECORDS = 1000


class Control(NamedTuple):
    """One layout at rest. The page is that of `/metrics`; `page_s` are CPU seconds of the router that makes it."""

    layout: Layout
    controller_cores: float
    router_files: float
    page_bytes: int
    page_series: int
    page_s: float

    @property
    def replicas(self) -> int:
        """Of all three deployments; one of the second arm stands by."""
        return self.layout.routers + self.layout.arms + 1


class Record(NamedTuple):
    """One replica in the list that Serve's controller sends to every router when a replica comes or goes."""

    size: float
    seconds: float


def at_rest(bed: Bed, layout: Layout, seconds: float) -> Control:
    """Look at a layout that is deployed and has answered requests before."""
    time.sleep(_CALM_S)
    controller = load.idle(bed.node, seconds)["controller"]
    before = processes.used(bed.node)
    for _ in range(_PAGES):
        page = _page(bed.url)
    page_s = processes.cpu_between(before, processes.used(bed.node))["router"] / _PAGES
    series = sum(not line.startswith("#") for line in page.splitlines())
    return Control(layout, controller, processes.files_of(before, "router"), len(page), series, page_s)


def _page(url: str) -> str:
    try:
        return httpx.get(f"{url}/metrics", timeout=30, trust_env=False).raise_for_status().text
    except httpx.HTTPError as error:
        raise ConfigurationError(f"{url}/metrics does not answer: {error}") from None


def files_limit(bed: Bed) -> int:
    """How many files and sockets a router may have open."""
    (pid, *_) = bed.pids()["Router"]
    soft, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
    return soft if soft > 0 else 1 << 20  # -1 is no limit; Linux then has its own


def record() -> Record:
    """Time Ray's own record of a replica as it is written for one listener. The controller writes it for each anew."""
    from ray.serve._private.common import DeploymentID, DeploymentTargetInfo, ReplicaID, RunningReplicaInfo

    deployment = DeploymentID("TorchDeployment", "detect")
    infos = []
    for number in range(_RECORDS):
        replica = ReplicaID(uuid.uuid4().hex[:8], deployment)
        address = f"10.0.{number // 250}.{number % 250}"
        infos.append(
            RunningReplicaInfo(replica, uuid.uuid4().hex * 2, address, None, replica.to_full_id_str(), 32, port=20_000)
        )
    best = float("inf")
    for _ in range(_TIMES):
        began = time.perf_counter()
        written = pickle.dumps(DeploymentTargetInfo(is_available=True, running_replicas=infos))
        best = min(best, time.perf_counter() - began)
    return Record(len(written) / _RECORDS, best / _RECORDS)
