"""The arithmetic from costs to clusters."""

import pytest

from bench.scaling import model
from bench.scaling.model import Cluster, Node, Part
from tests.unit.bench.scaling.results import RECORD, results

COSTS = model.costs(results(), RECORD)
CLUSTER = Cluster(Node(cores=10, service_s=0.04, threads=2), COSTS)


def share(name: str, nodes: int) -> float:
    (part,) = [part for part in model.parts(CLUSTER) if part.name == name]
    return part.share(nodes)


def test_costs_are_per_request_and_per_replica() -> None:
    assert COSTS.router_s == pytest.approx(0.002)
    assert [COSTS.arm_s, COSTS.door_s] == pytest.approx([0.001, 0.001])
    assert COSTS.controller_each == pytest.approx(0.01)  # 0.08 more for 8 replicas more
    assert COSTS.controller_base == pytest.approx(0.02)
    assert [COSTS.files_each, COSTS.files_base] == pytest.approx([5, 75])  # by arms
    assert [COSTS.page_each_s, COSTS.page_base_s] == pytest.approx([0.04, 0.01])  # by routers


def test_a_slope_that_noise_made_negative_is_none() -> None:
    few, many = results().at_rest
    noisy = results()._replace(at_rest=(few, many._replace(controller_cores=0.01)))
    costs = model.costs(noisy, RECORD)
    assert (costs.controller_each, costs.controller_base) == (0.0, few.controller_cores)


def test_a_node_is_filled_by_all_that_a_request_takes() -> None:
    assert CLUSTER.rate == pytest.approx(10 / (0.08 + 0.002 + 0.001 + 0.001))
    assert CLUSTER.arms == 5  # of 119 requests/s, each 40 ms
    assert CLUSTER.routers == 1
    assert CLUSTER.arms_of_a_core == pytest.approx(20)


def test_a_quick_engine_needs_more_routers() -> None:
    assert Cluster(Node(cores=10, service_s=0.004, threads=1), COSTS).routers > 1


def test_what_belongs_to_a_node_does_not_grow_with_their_number() -> None:
    for name in ("router of a node", "front door of a node"):
        assert share(name, 10) == share(name, 1000)


def test_what_belongs_to_the_cluster_grows() -> None:
    assert share("controller", 10) == pytest.approx(0.02 + 60 * 0.01)
    assert share("news of a replica", 100) == pytest.approx(100 * share("news of a replica", 10))
    assert share("/metrics of the service", 10) == pytest.approx(10 * (0.01 + 0.04) / 10)
    assert share("files of a router", 10) == pytest.approx((75 + 50 * 5) / 10_000)
    assert 0 < share("asking for queue lengths", 10) < share("asking for queue lengths", 1000) < 1


def part(per_node: float, end: bool = True) -> Part:
    return Part("part", "formula", lambda nodes: nodes * per_node, "nothing", end)


@pytest.mark.parametrize(("per_node", "full"), [(1.0, 1), (0.01, 100), (0.0099, 102), (1e-9, None)])
def test_the_number_of_nodes_that_fill_a_part(per_node: float, full: int | None) -> None:
    assert model.full_at(part(per_node)) == full


def test_what_has_no_end_is_never_the_fullest() -> None:
    assert model.full_at(part(1.0, end=False)) is None
    low = part(0.001)
    assert model.fullest([part(1.0, end=False), low], 10) is low
