"""The gathered page, from pages as Ray's agents write them."""

import asyncio

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from serve_app.errors import BackendUnavailable
from serve_app.observability.scrape import Page, gather_families, render_page, wanted_format

RAY = 'Component="core_worker",NodeAddress="10.0.0.1",SessionName="session_1",Version="2.60.0",WorkerId="ab",'
SCOPE = 'otel_scope_name="ray",otel_scope_version=""'
PAGE = f"""\
# HELP ray_node_cpu_count Total CPUs available on a ray node
# TYPE ray_node_cpu_count gauge
ray_node_cpu_count{{NodeAddress="10.0.0.1"}} 2.0
# HELP ray_detect_requests_total Requests.
# TYPE ray_detect_requests_total counter
ray_detect_requests_total{{{RAY}{SCOPE},application="detect",deployment="Router",replica="REPLICA",assigned="onnx"}} 27
ray_detect_requests_total{{{RAY}application="other",assigned="onnx",deployment="Router",replica="zz",{SCOPE}}} 5.0
# HELP ray_detect_latency_seconds Seconds.
# TYPE ray_detect_latency_seconds histogram
ray_detect_latency_seconds_bucket{{{RAY}application="detect",deployment="Router",le="0.1",replica="REPLICA"}} 3.0
ray_detect_latency_seconds_bucket{{{RAY}application="detect",deployment="Router",le="+Inf",replica="REPLICA"}} 4.0
ray_detect_latency_seconds_count{{{RAY}application="detect",deployment="Router",replica="REPLICA"}} 4.0
ray_detect_latency_seconds_sum{{{RAY}application="detect",deployment="Router",replica="REPLICA"}} 1.5
"""


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Pages by agent address. Any other address answers 500; one that begins with `down` does not answer."""
    pages: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        address = request.url.netloc.decode()
        if address.startswith("down"):
            raise httpx.ConnectError("refused")
        return httpx.Response(200, text=pages[address]) if address in pages else httpx.Response(500)

    plain = httpx.AsyncClient

    def client(**options: object) -> httpx.AsyncClient:
        return plain(transport=httpx.MockTransport(answer))

    monkeypatch.setattr("serve_app.observability.scrape.httpx.AsyncClient", client)
    return pages


def gather(addresses: list[str], accept: str = "") -> Page:
    families = asyncio.run(gather_families(addresses, "detect"))
    return render_page(families, wanted_format(accept))


def test_replicas_of_all_nodes_are_on_one_page_under_one_heading(agents: dict[str, str]) -> None:
    agents |= {"a:1": PAGE.replace("REPLICA", "r1"), "b:1": PAGE.replace("REPLICA", "r2")}
    page = gather(["a:1", "b:1", "b:1"]).content.decode()
    requests, latency = parse_text(page)
    assert {sample.labels["replica"]: sample.value for sample in requests.samples} == {"r1": 27, "r2": 27}
    assert len(requests.samples) == 2
    assert len(latency.samples) == 8
    assert page.count("# TYPE ray_detect_requests_total counter") == 1


def test_only_declared_series_of_this_application_with_their_own_labels(agents: dict[str, str]) -> None:
    agents["a:1"] = PAGE.replace("REPLICA", "r1")
    requests, _ = parse_text(gather(["a:1"]).content.decode())
    [sample] = requests.samples
    assert sample.labels == {"application": "detect", "assigned": "onnx", "deployment": "Router", "replica": "r1"}


def test_openmetrics_is_written_for_those_who_accept_it(agents: dict[str, str]) -> None:
    agents["a:1"] = PAGE.replace("REPLICA", "r1")
    page = gather(["a:1"], "application/openmetrics-text; version=1.0.0, text/plain; q=0.5")
    assert page.media_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(page.content.decode())  # type: ignore[no-untyped-call]
    assert [family.name for family in families] == ["ray_detect_requests", "ray_detect_latency_seconds"]


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "application/openmetrics-text; version=0.0.1",
        "application/openmetrics-text; version=x",
        "text/plain; version=é.1",
    ],
)
def test_text_is_written_for_everybody_else(agents: dict[str, str], accept: str) -> None:
    agents["a:1"] = PAGE.replace("REPLICA", "r1")
    assert gather(["a:1"], accept).media_type.startswith("text/plain")


def test_formats_are_few_whatever_readers_send() -> None:
    versions = ("1.0.0", "1.0.1", "9", "1.00")
    accepts = [
        f"{kind}; version={version}; escaping={escaping}"
        for kind in ("application/openmetrics-text", "text/plain")
        for version in versions
        for escaping in ("underscores", "allow-utf-8", "dots", "values", "other", "x" * 1000)
    ]
    formats = set(map(wanted_format, accepts))
    assert len(formats) == 10
    assert all(render_page([], content_type).media_type == content_type for content_type in formats)
    assert not any("9" in content_type for content_type in formats)


def test_an_agent_that_does_not_answer_is_left_out(agents: dict[str, str]) -> None:
    agents["a:1"] = PAGE.replace("REPLICA", "r1")
    requests, _ = parse_text(gather(["down:1", "broken:1", "a:1"]).content.decode())
    assert len(requests.samples) == 1


def test_no_agent_at_all_is_an_error_and_not_an_empty_page(agents: dict[str, str]) -> None:
    with pytest.raises(BackendUnavailable, match="no metrics agent"):
        gather(["down:1", "broken:1"])
