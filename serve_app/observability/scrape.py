"""One page with the series of the whole application: gathered from Ray's agent on every node. Called by the router.

A scrape of this page through any router replica sees every replica, whichever node it runs on.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.errors import BackendUnavailable

_AGENT_TIMEOUT_S = 8.0  # less than Prometheus waits; an agent answers one at a time, with a megabyte and more
_PREFIX = "ray_detect_"


class Page(NamedTuple):
    """A body with its content type."""

    content: bytes
    media_type: str


async def gather_page(agents: Sequence[str], application: str, accept: str) -> Page:
    """Fetch every agent's page and render the families of `application` as the Accept header asks.

    An agent that does not answer is left out; raises BackendUnavailable when none does.
    """
    # Agents speak plain HTTP; to read the machine's certificates all the same would be half of a page's cost.
    async with httpx.AsyncClient(timeout=_AGENT_TIMEOUT_S, trust_env=False, verify=False) as client:
        pages = await asyncio.gather(*(_fetch(client, agent) for agent in set(agents)))
    answered = [page for page in pages if page is not None]
    if not answered:
        raise BackendUnavailable("no metrics agent of Ray answers")
    # In a thread: thousands of lines are parsed here, and the router's loop has requests to answer.
    return await asyncio.to_thread(_render, answered, application, accept)


async def _fetch(client: httpx.AsyncClient, agent: str) -> str | None:
    try:
        response = await client.get(f"http://{agent}/metrics")
        return response.raise_for_status().text
    except httpx.HTTPError:
        return None


def _render(pages: Iterable[str], application: str, accept: str) -> Page:
    registry = CollectorRegistry()
    registry.register(_Families(merge_families(pages, application)))
    encode, content_type = choose_encoder(accept)
    return Page(encode(registry), content_type)


def merge_families(pages: Iterable[str], application: str) -> list[Metric]:
    """The declared families of one application, each once, with the samples of all pages."""
    families: dict[str, Metric] = {}
    for page in pages:
        for family in text_string_to_metric_families(_ours(page)):
            samples = [sample for sample in family.samples if sample.labels.get("application") == application]
            if samples:
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples.extend(map(_with_few_labels, samples))
    return list(families.values())


def _ours(page: str) -> str:
    """The lines of our families: Ray's own are the bulk of a page and would cost the most."""
    lines = page.splitlines(keepends=True)
    return "".join(line for line in lines if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(_PREFIX))


def _with_few_labels(sample: Sample) -> Sample:
    # Serve's `replica` tells the series apart; Ray's own labels say the same again, in camel case, and OpenTelemetry's
    # say nothing.
    kept = {name: value for name, value in sample.labels.items() if name.islower() and not name.startswith("otel_")}
    return sample._replace(labels=kept)


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
