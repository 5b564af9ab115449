"""From the measured costs to 10, 100 and 1,000 nodes: how full each part would be, and what to set. Pure arithmetic.

Used by `bench.scaling`. Everything here is computed; only `Costs` are measured.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.scaling.control import Record
from bench.scaling.measure import Results

NODES = (10, 100, 1000)
_FILL = 0.7  # of a process: more, and queues grow
_SCRAPE_TIMEOUT_S = 10.0  # Prometheus' default
_HEALTH_TIMEOUT_S = 5.0  # health_check_timeout_s of serve_config.yaml
_CACHE_S = 10.0  # RAY_SERVE_QUEUE_LENGTH_CACHE_TIMEOUT_S
_MOST_NODES = 100_000


class Node(NamedTuple):
    """A node of the imagined cluster: its cores, and what one inference takes of them."""

    cores: int = 16
    service_s: float = 0.04
    threads: int = 2


class Costs(NamedTuple):
    """What one more request or replica takes, from the windows and the layouts at rest."""

    router_s: float
    arm_s: float
    door_s: float
    controller_base: float
    controller_each: float
    files_base: float
    files_each: float
    files_limit: int
    page_base_s: float
    page_each_s: float
    record: Record


class Part(NamedTuple):
    """A part of the cluster: how full it is with so many nodes (1: full), how that is computed, and what helps.

    What has no `end` grows dearer with the nodes, but is never full.
    """

    name: str
    formula: str
    share: Callable[[int], float]
    remedy: str
    end: bool = True


def costs(results: Results, record: Record) -> Costs:
    """Costs per request from the window with one router; costs per replica from two layouts at rest."""
    one = results.ceiling[0]
    few, many = results.at_rest
    base, each = _line(few.replicas, few.controller_cores, many.replicas, many.controller_cores)
    files_base, files_each = _line(few.layout.arms, few.router_files, many.layout.arms, many.router_files)
    # Of one node: its agent is asked whatever runs there; the series on the page are all the routers'.
    page_base_s, page_each_s = _line(few.layout.routers, few.page_s, many.layout.routers, many.page_s)
    return Costs(
        router_s=one.each("router"),
        arm_s=one.each("arm"),
        door_s=one.each("haproxy") or one.each("proxy"),  # behind HAProxy, Ray's own only stands by
        controller_base=base,
        controller_each=each,
        files_base=files_base,
        files_each=files_each,
        files_limit=results.files_limit,
        page_base_s=page_base_s,
        page_each_s=page_each_s,
        record=record,
    )


def _line(few: int, at_few: float, many: int, at_many: float) -> tuple[float, float]:
    """What none takes and what each takes; a slope that noise made negative is none."""
    each = max((at_many - at_few) / (many - few), 0.0)
    return max(at_few - each * few, 0.0), each


class Cluster(NamedTuple):
    """How a node is filled: its arms take what router and front door leave."""

    node: Node
    costs: Costs

    @property
    def rate(self) -> float:
        """Requests/s of one node with all its cores busy."""
        inference = self.node.threads * self.node.service_s
        return self.node.cores / (inference + self.costs.router_s + self.costs.arm_s + self.costs.door_s)

    @property
    def routers(self) -> int:
        """Router replicas of one node."""
        return max(math.ceil(self.rate * self.costs.router_s / _FILL), 1)

    @property
    def arms(self) -> int:
        """Arm replicas of one node, one image at a time in each."""
        return max(math.ceil(self.rate * self.node.service_s), 1)

    @property
    def arms_of_a_core(self) -> float:
        """How many arms one core of router keeps busy."""
        return self.node.service_s / self.costs.router_s


def parts(cluster: Cluster) -> list[Part]:
    """Every part that the measurements say something about, those of each node first."""
    return [*_of_each_node(cluster), *_of_the_cluster(cluster)]


def _of_each_node(cluster: Cluster) -> list[Part]:
    cost, rate = cluster.costs, cluster.rate
    return [
        Part(
            "router of a node",
            f"requests/s of a node x {cost.router_s * 1e3:.2f} ms / routers of a node",
            lambda nodes: rate * cost.router_s / cluster.routers,
            f"Router: num_replicas {cluster.routers} per node",
        ),
        Part(
            "front door of a node",
            f"requests/s of a node x {cost.door_s * 1e3:.2f} ms; one process or thread",
            lambda nodes: rate * cost.door_s,
            "fast mode; there RAY_SERVE_HAPROXY_NBTHREAD",
        ),
    ]


def _of_the_cluster(cluster: Cluster) -> list[Part]:
    cost, rate = cluster.costs, cluster.rate

    def replicas(nodes: int) -> int:
        return nodes * (cluster.routers + cluster.arms)

    def stale(nodes: int) -> float:
        # A router sees each replica so often; an entry older than the cache's time has to be asked for.
        visits_per_s = rate / cluster.routers / (nodes * cluster.arms)
        return math.exp(-_CACHE_S * visits_per_s)

    return [
        Part(
            "controller",
            f"{cost.controller_base:.3f} + replicas x {cost.controller_each * 1e3:.2f} thousandths of a core",
            lambda nodes: cost.controller_base + replicas(nodes) * cost.controller_each,
            "longer health_check_period_s, RAY_SERVE_CONTROL_LOOP_INTERVAL_S",
        ),
        Part(
            "news of a replica",
            f"routers x arms x {cost.record.seconds * 1e6:.2f} us in the controller / health_check_timeout_s",
            lambda nodes: nodes**2 * cluster.routers * cluster.arms * cost.record.seconds / _HEALTH_TIMEOUT_S,
            "several smaller applications, fewer and larger arms",
        ),
        Part(
            "/metrics of the service",
            f"nodes x ({cost.page_base_s * 1e3:.0f} + routers of a node x {cost.page_each_s * 1e3:.0f}) ms / "
            "scrape_timeout",
            lambda nodes: nodes * (cost.page_base_s + cluster.routers * cost.page_each_s) / _SCRAPE_TIMEOUT_S,
            "scrape the nodes' agents (job ray), not this page",
        ),
        Part(
            "files of a router",
            f"({cost.files_base:.0f} + arms x {cost.files_each:.1f}) / {cost.files_limit}",
            lambda nodes: (cost.files_base + nodes * cluster.arms * cost.files_each) / cost.files_limit,
            "ulimit -n, several smaller applications",
        ),
        Part(
            "asking for queue lengths",
            f"exp(-{_CACHE_S:g} s x requests/s of a router / arms): share of choices that ask a replica first",
            stale,
            "RAY_SERVE_QUEUE_LENGTH_CACHE_TIMEOUT_S, several smaller applications",
            end=False,
        ),
    ]


def full_at(part: Part) -> int | None:
    """The number of nodes at which a part is full, or None if more nodes do not fill it."""
    if not part.end or part.share(_MOST_NODES) < 1:
        return None
    low, high = 0, _MOST_NODES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if part.share(middle) >= 1 else (middle, high)
    return high


def fullest(all_parts: Sequence[Part], nodes: int) -> Part:
    """Which part is the first to be full."""
    return max((part for part in all_parts if part.end), key=lambda part: part.share(nodes))
