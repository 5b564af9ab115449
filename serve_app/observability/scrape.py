"""The metrics page of the whole application, gathered from Ray's agent on every node. Called by the router.

A scrape of this page through any router replica sees every replica, whichever node it runs on.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.errors import BackendUnavailable

# Less than the 10 s that Prometheus waits. An agent renders one page at a time, each of a megabyte and more.
_AGENT_TIMEOUT_S = 8.0
_PREFIX = "ray_detect_"
_OPENMETRICS = "application/openmetrics-text"


class Page(NamedTuple):
    """A response body and its content type."""

    content: bytes
    media_type: str


async def gather_families(agents: Sequence[str], application: str) -> list[Metric]:
    """Fetch the pages of all agents (`host:port`), and give the families of `application`.

    An agent that does not answer is left out. Raises BackendUnavailable if none answers.
    """
    # Agents speak plain HTTP. `verify=False` skips reading the machine's certificates, half of the cost of a page.
    async with httpx.AsyncClient(timeout=_AGENT_TIMEOUT_S, trust_env=False, verify=False) as client:
        pages = await asyncio.gather(*(_fetch(client, agent) for agent in set(agents)))
    answered = [page for page in pages if page is not None]
    if not answered:
        raise BackendUnavailable("no metrics agent of Ray answers")
    # Thousands of lines are parsed here. In a thread, they do not hold up the requests on the router's event loop.
    return await asyncio.to_thread(_merge, answered, application)


def wanted_format(accept: str) -> str:
    """The content type of the page for an Accept header: one of a few, whatever a reader sends."""
    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the version in the header is no number
        return CONTENT_TYPE_PLAIN_0_0_4
    # The library would echo any higher version.
    unknown = content_type.startswith(_OPENMETRICS) and f"{_OPENMETRICS}; version=1.0.0;" not in content_type
    return CONTENT_TYPE_LATEST if unknown else content_type


def render_page(families: Iterable[Metric], content_type: str) -> Page:
    """Write families in a format that `wanted_format` gave."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    encode, _ = choose_encoder(content_type)
    return Page(encode(registry), content_type)


async def _fetch(client: httpx.AsyncClient, agent: str) -> bytes | None:
    try:
        response = await client.get(f"http://{agent}/metrics")
        return response.raise_for_status().content
    except httpx.HTTPError:
        return None


def _merge(pages: Iterable[bytes], application: str) -> list[Metric]:
    return merge_families((page.decode(errors="replace") for page in pages), application)


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
    """Only the lines of our own families. Most of a page is Ray's own, and parsing it would take the most time."""
    lines = page.splitlines(keepends=True)
    return "".join(line for line in lines if line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(_PREFIX))


def _with_few_labels(sample: Sample) -> Sample:
    # Serve's label `replica` already tells the series apart. Ray's own labels, in camel case, repeat that, and those of
    # OpenTelemetry are empty.
    kept = {name: value for name, value in sample.labels.items() if name.islower() and not name.startswith("otel_")}
    return sample._replace(labels=kept)


class _Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
