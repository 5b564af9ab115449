"""One run with a known split, a slow, a hanging and a killed backend, and all that Prometheus makes of it."""

import bisect
import contextlib
import itertools
import math
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.load.generator import clients
from bench.load.plan import Target
from serve_app.local import deploy
from serve_app.observability.metrics import LATENCY_STEP, SERIES, latency_buckets
from tests.config.dashboards import Query, queries
from tests.config.prometheus_tools import FOLDER, promtool
from tests.integration.bodies import slow_to_decode
from tests.integration.conftest import Service, restore
from tests.integration.faults import PATIENT, catch_up, frozen
from tests.integration.prometheus import Prometheus, in_short_windows, watching
from tests.integration.traffic import around_quantile, send, slowed_down

pytestmark = pytest.mark.integration

FRACTION = 0.4
POLICY = {"onnx_fraction": FRACTION, "shadow_fraction": 1.0, "shadow_noise_share": 0.5, "allow_override": True}
BOTH_WAYS = "count(count by (job) (ray_detect_requests_total)) == 2"
MUST_FIRE = {
    "DetectCandidateSlower",
    "DetectErrorRatio",
    "DetectBackendDown",
    "DetectBreakerOpen",
    "DetectSplitNotHonoured",
    "DetectPolicyRejected",
    "DetectOverload",
}


class Timed(NamedTuple):
    """One answer, and the seconds it took: as the router tells its client, and as the client measured."""

    assigned: str
    told: float
    measured: float


class Run(NamedTuple):
    """What happened when, and what the clients of the first part saw."""

    service: Service
    prometheus: Prometheus
    timed: list[Timed]
    began: float
    counted: float
    ended: float


@pytest.fixture(scope="module")
def run(_service: Service, small_photo: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """All parts of the run, one after the other; the tests look at what it left in Prometheus."""
    restore(_service)
    with watching(_service.node, tmp_path_factory.mktemp("prometheus")) as prometheus:
        prometheus.wait_for(BOTH_WAYS)
        began = _all_is_scraped(_service, prometheus)
        _service.deploy(Router=POLICY)
        timed = _known_split(_service, small_photo)
        counted = _all_is_scraped(_service, prometheus)
        _slow_and_hanging_backend(_service, prometheus, small_photo)
        _killed_backend(_service, prometheus, small_photo)
        _one_client_too_many(_service, prometheus, small_photo)
        _refused_policy(_service, prometheus)
        yield Run(_service, prometheus, timed, began, counted, time.time())


def _all_is_scraped(service: Service, prometheus: Prometheus) -> float:
    """Wait until Prometheus has everything that was counted until now; gives a time when it had."""
    catch_up(service)
    return prometheus.wait_for_scrape()


def _known_split(service: Service, photo: bytes) -> list[Timed]:
    send(service.url, photo, 10, headers={"X-Backend": "onnx"})  # forced: these must show nowhere
    image, headers = slow_to_decode(), {"Content-Type": "image/png"}
    with (
        httpx.Client(base_url=service.url, timeout=60, trust_env=False, headers=headers) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        return list(pool.map(lambda _: _timed(client, image), range(100)))


def _timed(client: httpx.Client, image: bytes) -> Timed:
    began = time.perf_counter()
    response = client.post("/detect", content=image).raise_for_status()
    measured = time.perf_counter() - began
    [milliseconds] = re.findall(r"total;dur=([\d.]+)", response.headers["server-timing"])
    return Timed(response.json()["assigned"], float(milliseconds) / 1e3, measured)


def _slow_and_hanging_backend(service: Service, prometheus: Prometheus, photo: bytes) -> None:
    [pid] = service.pids()["OnnxDeployment"]
    with slowed_down(pid):
        send(service.url, photo, 100, clients=3)
        prometheus.wait_for_alert("DetectCandidateSlower", lambda: _send_some(service, photo))
    # Time enough for Torch on a busy machine, and Serve must not replace the replica before the alert fires.
    policy = {**POLICY, "arm_timeout_s": 5.0, "breaker": {"consecutive_failures": 2}}
    service.deploy(Router=policy, OnnxDeployment={"options": PATIENT})
    with frozen(pid):
        send(service.url, photo, 40, clients=6)
        prometheus.wait_for_alert("DetectBreakerOpen")


def _send_some(service: Service, photo: bytes) -> None:
    send(service.url, photo, 10, clients=3)


def _killed_backend(service: Service, prometheus: Prometheus, photo: bytes) -> None:
    def kill() -> None:
        for pid in service.pids()["OnnxDeployment"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    kill()
    send(service.url, photo, 30)
    # Again where it is back too soon for the alert: after the hang before, Ray may have another one on its way.
    prometheus.wait_for_alert("DetectBackendDown", meanwhile=kill)
    prometheus.wait_for_alert("DetectErrorRatio")
    prometheus.wait_for("min(ray_detect_backend_up)", lambda up: up == 1)


def _one_client_too_many(service: Service, prometheus: Prometheus, photo: bytes) -> None:
    """All requests come from one client, which keeps its backend; then from more connections than there are places."""
    service.deploy(Router=POLICY)
    send(service.url, photo, 120, clients=6, headers={"X-Client-Id": "the only one"})
    prometheus.wait_for_alert("DetectSplitNotHonoured")
    service.deploy(Router={**POLICY, "max_inflight": 1})
    send(service.url, photo, 100, clients=6)
    prometheus.wait_for_alert("DetectOverload")


def _refused_policy(service: Service, prometheus: Prometheus) -> None:
    deploy.deploy(service.node, service.config({"Router": {**POLICY, "onnx_fraction": 7}}))
    prometheus.wait_for_alert("DetectPolicyRejected")


def in_dashboard(query: Query, run: Run) -> str:
    """The expression as Grafana would send it with everything selected and the whole run on the screen."""
    values = {
        "$job": ".+",
        "$instance": ".+",
        "$__rate_interval": "20s",
        "$__range": f"{math.ceil(run.ended - run.began)}s",
    }
    expr = query.expr
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    return expr


def assert_shows(prometheus: Prometheus, expr: str, run: Run, what: str) -> None:
    """Not empty, no error, and some value in it; infinite is one, the limit of too few requests."""
    matrix = prometheus.over(expr, run.began, run.ended)
    assert matrix, f"{what} is empty: {expr}"
    assert not all(math.isnan(value) for _, values in matrix for _, value in values), f"{what} shows nothing: {expr}"


def test_every_expression_of_every_panel_shows_something(run: Run) -> None:
    for query in queries():
        assert_shows(run.prometheus, in_dashboard(query, run), run, query.where)


def test_every_recorded_series_and_every_alert_has_something_to_judge(run: Run) -> None:
    for name in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load(in_short_windows((FOLDER / name).read_text()))["groups"]:
            for rule in group["rules"]:
                # The threshold stands on a line of its own; what is absent is judged by being there.
                value = rule.get("record") or re.sub(r"absent\((.*)\)", r"\1", rule["expr"].rsplit("\n", 2)[0])
                assert_shows(run.prometheus, value, run, rule.get("alert", "the record"))


def test_prometheus_found_no_fault_in_any_rule_or_target(run: Run) -> None:
    for group in run.prometheus.get("/rules")["groups"]:
        for rule in group["rules"]:
            assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
    targets = run.prometheus.get("/targets")["activeTargets"]
    assert {target["labels"]["job"] for target in targets} == {"detect", "ray"}
    answered = run.prometheus.instant("max_over_time(up[10m])")
    assert [value for _, value in answered] == [1.0] * len(targets), answered


def test_the_alerts_that_should_fire_did_and_no_others(run: Run) -> None:
    fired = run.prometheus.over('ALERTS{alertstate="firing"}', run.began, run.ended)
    assert {labels["alertname"] for labels, _ in fired} == MUST_FIRE
    failed = {labels["assigned"] for labels, _ in fired if labels["alertname"] == "DetectErrorRatio"}
    assert failed == {"onnx"}
    for alert in run.prometheus.get("/alerts")["alerts"]:
        assert "<error" not in " ".join(alert["annotations"].values()), alert  # of a template that did not expand


def test_each_way_of_scraping_counts_what_the_clients_sent(run: Run) -> None:
    sent = Counter(answer.assigned for answer in run.timed)
    for job in ("detect", "ray"):
        for backend, count in sent.items():
            counter = f'sum(ray_detect_requests_total{{job="{job}",assigned="{backend}",outcome="ok"}})'
            before, after = (run.prometheus.number(counter, at) for at in (run.began, run.counted))
            assert after - before == pytest.approx(count), (job, backend)
    assert sent["onnx"] / len(run.timed) == pytest.approx(FRACTION, abs=0.05)


@pytest.mark.parametrize("quantile", [0.5, 0.95])
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_quantiles_are_within_one_bucket_of_what_the_clients_were_told(run: Run, backend: str, quantile: float) -> None:
    buckets = f'sum by (le) (ray_detect_latency_seconds_bucket{{job="detect",assigned="{backend}"}} %s)'
    # A difference of two readings, not a rate: exactly the requests of the first part.
    now, then = buckets % f"@ {run.counted}", buckets % f"@ {run.began}"
    seen = run.prometheus.number(f"histogram_quantile({quantile}, {now} - ({then} or 0 * {now}))")
    low, high = around_quantile([answer.told for answer in run.timed if answer.assigned == backend], quantile)
    bounds = latency_buckets()
    allowed = range(bisect.bisect_left(bounds, low) - 1, bisect.bisect_left(bounds, high) + 2)
    assert bisect.bisect_left(bounds, seen) in allowed, f"{seen:.3f} s, the clients were told {low:.3f} to {high:.3f} s"


def test_clients_measure_what_they_are_told(run: Run) -> None:
    """Never less; and at least once, when the machine did nothing else, no more than a bucket's width."""
    assert all(answer.told <= answer.measured for answer in run.timed)
    assert min(answer.measured / answer.told for answer in run.timed) < LATENCY_STEP


def test_the_page_is_valid_and_has_every_declared_series_with_its_labels(run: Run) -> None:
    page = httpx.get(f"{run.service.url}/metrics", timeout=30, trust_env=False).text
    promtool("check", "metrics", stdin=page)
    families = {family.name: family for family in parse_text(page)}
    for series in SERIES:
        family = families.pop(f"ray_{series.name}".removesuffix("_total"))
        assert family.type == series.kind
        assert family.documentation == series.help
        expected = {*series.labels, "application", "deployment", "replica"}
        assert {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples} == {frozenset(expected)}
    assert not families, "series that metrics.py does not declare"


def test_the_page_has_the_agents_numbers_each_series_once(run: Run) -> None:
    def counters(page: str) -> list[tuple[str, frozenset[tuple[str, str]], float]]:
        return [
            (sample.name, frozenset(item for item in sample.labels.items() if item[0] in mine), sample.value)
            for family in parse_text(page)
            if family.name.startswith("ray_detect_") and family.type != "gauge"
            for sample in family.samples
        ]

    mine = {"application", "deployment", "replica", "le"}.union(*(series.labels for series in SERIES))
    agent = f"http://127.0.0.1:{run.service.node.ports.metrics}/metrics"
    ours, theirs = (
        counters(httpx.get(url, timeout=30, trust_env=False).text) for url in (f"{run.service.url}/metrics", agent)
    )
    assert len(ours) == len(set(ours))
    assert set(ours) == set(theirs)


def test_openmetrics_is_negotiated(run: Run) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = httpx.get(f"{run.service.url}/metrics", headers=accept, timeout=30, trust_env=False)
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert list(parse_openmetrics(response.text))  # type: ignore[no-untyped-call]


def test_a_scrape_is_at_most_two_seconds_old(run: Run, small_photo: bytes) -> None:
    """An agent's page is as old as the router's last report, so its age is at most the time between two reports.

    While requests are counted all the time, each report changes the page. A busy machine stretches some of these times
    and shortens none by much: the shortest is the interval of the reports.
    """
    with clients(Target(run.service.url, small_photo, keep_alive=True), 1):
        changes = itertools.islice(_changes_of_the_agents_page(run.service), 1, 8)  # not the first: it was there before
        assert min(after - before for before, after in itertools.pairwise(changes)) <= 2


def _changes_of_the_agents_page(service: Service) -> Iterator[float]:
    """The times at which it shows another number of requests than before."""
    counted: list[str] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{service.node.ports.metrics}", timeout=30, trust_env=False) as client:
        while True:
            page = client.get("/metrics").raise_for_status().text
            found = [line for line in page.splitlines() if line.startswith("ray_detect_requests_total{")]
            if found != counted:
                yield time.monotonic()
            counted = found
            time.sleep(0.05)
