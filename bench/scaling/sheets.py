"""Measurements and model of `bench.scaling` as tables of text, which `bench.scaling.report` prints and writes."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.scaling import model
from bench.scaling.control import Record
from bench.scaling.load import Window
from bench.scaling.measure import Results
from bench.scaling.model import NODES, Cluster, Node, Part

TARGET = 600  # requests/s for each core of the Router


class Sheet(NamedTuple):
    """A table with its title, and what a reader has to know to read it."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def measured(results: Sequence[Results]) -> list[Sheet]:
    """Arms added to one router; the router's own cost; what replicas cost at rest."""
    return [_scaling(results), _ceiling(results), _at_rest(results)]


def _scaling(results: Sequence[Results]) -> Sheet:
    rows = [
        [
            one.mode.value,
            str(seen.layout.at_once),
            str(seen.layout.arms),
            f"{seen.layout.ideal:.0f}",
            f"{seen.rate:.1f}",
            f"{seen.rate / seen.layout.ideal:.0%}",
            f"{seen.slowest_third:.1f} to {seen.fastest_third:.1f}",
            _ms(seen.p50_s),
            str(sum(seen.failed.values())),
            f"{seen.busy('router'):.0%}",
            f"{seen.generator_share:.0%}",
        ]
        for one in results
        for seen in one.scaling
    ]
    service_s = results[0].scaling[0].layout.service_s
    return Sheet(
        f"Measured: arms that wait {service_s * 1e3:.0f} ms, one request at a time, behind one router",
        "`at once` is max_ongoing_requests: with 1, an arm waits for its next request to travel.",
        ["mode", "at once", "arms", "ideal/s", "answered/s", "of ideal", "in thirds", "p50 ms", "failed", "router core",
         "clients' core"],
        rows,
    )  # fmt: skip


def _ceiling(results: Sequence[Results]) -> Sheet:
    rows = [
        [
            one.mode.value,
            str(seen.layout.routers),
            f"{seen.rate:.0f}",
            f"{seen.slowest_third:.0f} to {seen.fastest_third:.0f}",
            f"{seen.rate / seen.layout.routers:.0f}",
            *(f"{seen.each(part) * 1e3:.2f}" for part in ("router", "arm", "proxy", "haproxy")),
            f"{per_core(seen):.0f}",
            f"{seen.busy('router'):.0%}",
            f"{seen.generator_share:.0%}",
            str(sum(seen.failed.values())),
        ]
        for one in results
        for seen in one.ceiling
    ]
    return Sheet(
        "Measured: the Router's own cost, arms without work, bodies of 200 kB",
        f"CPU ms are per request and part; requests/s per core is 1000 / router ms (to reach: {TARGET}). Clients, "
        "front door, routers and arms share the machine, so requests/s is that of all together.",
        ["mode", "routers", "requests/s", "in thirds", "per router", "router ms", "arm ms", "proxy ms", "haproxy ms",
         "per core of router", "router core", "clients' core", "failed"],
        rows,
    )  # fmt: skip


def per_core(seen: Window) -> float:
    """Requests for each CPU second of the routers."""
    return 1 / seen.each("router") if seen.each("router") else float("inf")


def _at_rest(results: Sequence[Results]) -> Sheet:
    rows = [
        [
            one.mode.value,
            str(rest.replicas),
            f"{rest.controller_cores:.1%}",
            f"{rest.router_files:.0f}",
            f"{rest.page_bytes / 1e3:.0f}",
            str(rest.page_series),
            _ms(rest.page_s),
        ]
        for one in results
        for rest in one.at_rest
    ]
    return Sheet(
        "Measured: at rest",
        "Replicas of all three deployments; what one more costs is the difference of the rows.",
        ["mode", "replicas", "controller core", "files of a router", "/metrics kB", "series", "CPU ms of a page"],
        rows,
    )


def computed(one: Results, record: Record, node: Node) -> Sheet:
    """The model for one mode: how full each part is with 10, 100 and 1,000 nodes."""
    cluster = Cluster(node, model.costs(one, record))
    all_parts = model.parts(cluster)
    first = {nodes: model.fullest(all_parts, nodes).name for nodes in NODES}
    note = (
        f"A node: {node.cores} cores, {cluster.arms} arms of {node.threads} threads and {node.service_s * 1e3:.0f} ms, "
        f"{cluster.routers} router(s), one front door: {cluster.rate:.0f} requests/s with all cores busy. One core of "
        f"router keeps {cluster.arms_of_a_core:.0f} such arms busy. Nearest to full: "
        + ", ".join(f"{part} ({nodes:,} nodes)" for nodes, part in first.items())
        + ". *Full* is 100 %: one core, or the time or number after the stroke."
    )
    head = ["part", *(f"{nodes:,} nodes" for nodes in NODES), "full at", "formula", "what to set"]
    return Sheet(
        f"Computed from the {one.mode} mode: share of what a part can bear",
        note,
        head,
        [_row(part) for part in all_parts],
    )


def _row(part: Part) -> list[str]:
    end = model.full_at(part)
    full = f"{end:,} nodes" if end else "never" if part.end else "no end"
    return [part.name, *(_share(part.share(nodes)) for nodes in NODES), full, part.formula, part.remedy]


def _share(value: float) -> str:
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.1f}"
