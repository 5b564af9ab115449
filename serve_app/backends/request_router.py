"""Which replica of a backend gets a call: one that can answer. Run by Serve's handles, in the router's process.

A replica that failed to load passes Serve's health check, because a deployment must not fail to start. It answers at
once, so Serve's own choice, the replica with the shortest queue, would send it most of the traffic.
"""

import random

from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica


class ReadyReplicas(FIFOMixin, RequestRouter):
    """Serve's "power of two choices" among the replicas that are ready; among all of them while none says so."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Two replicas at random. Serve takes the one with the shorter queue, and asks again while both are full."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # a pause before it asks again
        ready = [replica for replica in candidate_replicas if _is_ready(replica)] or candidate_replicas
        return [random.sample(ready, min(2, len(ready)))]


def _is_ready(replica: RunningReplica) -> bool:
    told = getattr(replica, "routing_stats", None)  # the status, from the deployment's `record_routing_stats`
    return isinstance(told, dict) and told.get("state") == "ready"
