"""One page with the series of the whole application: gathered from Ray's agent on every node. Called by the router.

A scrape of this page through any router replica sees every replica, whichever node it runs on.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from serve_app.api import Page
from serve_app.errors import BackendUnavailable

_PREFIX = "ray_detect_"
_AGENT_TIMEOUT_S = 2.0


async def gather_page(agents: Sequence[str], application: str, accept: str) -> Page:
    """Fetch every agent's page and render the families of `application` as the Accept header asks.

    An agent that does not answer is left out; raises BackendUnavailable when none does.
    """
    async with httpx.AsyncClient(timeout=_AGENT_TIMEOUT_S, trust_env=False) as client:
        pages = await asyncio.gather(*(_fetch(client, agent) for agent in agents))
    answered = [page for page in pages if page is not None]
    if not answered:
        raise BackendUnavailable("no metrics agent of Ray answers")
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
    """The families of one application, each once, with the samples of all pages."""
    families: dict[str, Metric] = {}
    for page in pages:
        for family in text_string_to_metric_families(page):
            samples = [sample for sample in family.samples if sample.labels.get("application") == application]
            if not family.name.startswith(_PREFIX) or not samples:
                continue
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            merged.samples.extend(samples)
    return list(families.values())


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
