"""The application of `bench.scaling.app` on a node, in one layout after the other. Used by the measurements."""

import time
from typing import NamedTuple

from bench.service import Service
from serve_app.errors import ConfigurationError

_TIMEOUT_S = 120
_POLL_S = 0.2
# Nothing may be refused: what is measured is how much gets through.
_NO_LIMIT = 10_000
# Room for every layout, whatever the number of cores.
_ACTOR = {"num_cpus": 0.01}
_POLICY = {
    "fallback": False,
    "max_inflight": _NO_LIMIT,
    "max_uploads": _NO_LIMIT,
    "deadline_s": 120.0,
    "arm_timeout_s": 120.0,
}


class Layout(NamedTuple):
    """How many replicas there are, the seconds that an arm takes, and how many calls Serve lets into one of them."""

    routers: int = 1
    arms: int = 1
    service_s: float = 0.0
    at_once: int = 32

    @property
    def ideal(self) -> float:
        """Requests/s of the arms alone: one at a time in each."""
        return self.arms / self.service_s if self.service_s else float("inf")


class Bed(Service):
    """A service whose arms only wait. All traffic goes to the first arm; one replica of the other stands by."""

    import_path = "bench.scaling.app:app"

    def arrange(self, layout: Layout) -> None:
        """Deploy a layout and wait until every replica of it runs."""
        router = {"num_replicas": layout.routers, "max_ongoing_requests": _NO_LIMIT}
        arm = {"num_replicas": layout.arms, "max_ongoing_requests": layout.at_once}
        common = {"max_queued_requests": _NO_LIMIT, "ray_actor_options": _ACTOR}
        self.deploy(
            Router={**_POLICY, "options": router | common},
            TorchDeployment={"service_s": layout.service_s, "options": arm | common},
            OnnxDeployment={"options": common},
        )
        wanted = {"Router": layout.routers, "TorchDeployment": layout.arms, "OnnxDeployment": 1}
        deadline = time.monotonic() + _TIMEOUT_S
        while (running := {name: len(pids) for name, pids in self.pids().items()}) != wanted:
            if time.monotonic() > deadline:
                raise ConfigurationError(f"wanted the replicas {wanted}, got {running} within {_TIMEOUT_S} s")
            time.sleep(_POLL_S)
