"""Bad input: thousands of hostile requests, in process with the real decoder and over HTTP; none hurts the service."""

import asyncio
import concurrent.futures
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import psutil
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from bench.service import Service
from serve_app.backends.protocol import BackendClient
from serve_app.detection.pipeline import Pipeline
from serve_app.detection.spec import EngineInfo, ModelSpec, Pixels, RawOutputs, ResizeRule
from serve_app.http.admission import Admission
from serve_app.http.api import build_api
from serve_app.local.modes import Mode
from serve_app.observability.metrics import RouterMetrics
from serve_app.observability.scrape import Page
from serve_app.schemas import BACKENDS, Backend, DetectionResult, DetectResponse, Options, Problem
from serve_app.settings import LimitSettings
from serve_app.traffic.breaker import Breaker
from serve_app.traffic.dispatch import Dispatcher
from serve_app.traffic.lane import Lane
from serve_app.traffic.policy import PolicyInForce
from serve_app.traffic.shadow import Shadow
from tests.integration.bodies import Hostile, hostile_requests
from tests.unit.observability.test_metrics import Recorder

IN_PROCESS, OVER_HTTP = 5000, 600
LARGEST_GROWTH = 300_000_000
SEED = 20_260
CODES = {
    400: {"malformed_request"},
    403: {"override_refused"},
    408: {"body_timeout"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"invalid_image"},
    504: {"deadline_exceeded"},
}
SPEC = ModelSpec(labels=["shirt"], resize=ResizeRule(height=32, width=32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
                 patch_size=16, position_grid=(2, 2), detection_tokens=3)  # fmt: skip


class BlindDetector:
    """An engine that detects nothing, at once: everything before it is the real code."""

    info = EngineInfo("blind", "cpu", "fp32", 1, {})

    def infer(self, pixels: Pixels) -> RawOutputs:
        return RawOutputs(np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 4), np.float32))


class LocalBackend:
    """A backend without Ray: one real pipeline, called in place."""

    is_ready = True
    fingerprints = frozenset({"sha256:blind"})

    def __init__(self, name: Backend, limits: LimitSettings) -> None:
        self.name = name
        self._pipeline = Pipeline(BlindDetector(), SPEC, limits)

    async def detect(
        self, data: bytes, options: Options, timeout_s: float, *, only_if_idle: bool = False, may_wait: bool = False
    ) -> DetectionResult:
        return self._pipeline.detect(data, options, timeout_s)


def api_without_ray(limits: LimitSettings) -> Starlette:
    """The real API and the real dispatcher over two local backends."""
    policy, metrics = PolicyInForce(), RouterMetrics(Recorder())
    backends: dict[Backend, BackendClient] = {name: LocalBackend(name, limits) for name in BACKENDS}

    async def metrics_page(accept: str) -> Page:
        return Page(b"", "text/plain")

    return build_api(
        limits=limits,
        policy=policy,
        admission=Admission(metrics.overloaded),
        dispatcher=Dispatcher(policy, {name: Lane(backend, Breaker()) for name, backend in backends.items()}, metrics),
        shadow=Shadow(backends, metrics),
        readiness=lambda: {"ready": True},
        metrics_page=metrics_page,
    )


class Answered:
    """One answer, checked against what the API documents."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        self.kind = dict(headers).get(b"content-type", b"").decode()

    def check(self) -> int:
        if self.status == 200:
            DetectResponse.model_validate_json(self.body)
            return self.status
        problem = Problem.model_validate_json(self.body)
        assert self.kind == "application/problem+json"
        assert problem.status == self.status
        assert problem.code in CODES[self.status], self.body
        assert problem.detail
        return self.status


async def ask(app: Any, hostile: Hostile) -> Answered:
    """Call the ASGI application as a server does."""
    headers = [(name.lower().encode(), value.encode()) for name, value in hostile.headers]
    query = urlencode(hostile.query).encode()
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/detect",
             "query_string": query, "headers": headers, "scheme": "http", "server": ("x", 80)}  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": hostile.body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answered(sent[0]["status"], sent[0]["headers"], body)


def test_five_thousand_hostile_requests_in_process() -> None:
    limits = LimitSettings()
    app = api_without_ray(limits)
    process = psutil.Process()

    async def campaign() -> Counter[int]:
        statuses: Counter[int] = Counter()
        before = process.memory_info().rss
        for number, hostile in enumerate(hostile_requests(SEED, IN_PROCESS)):
            try:
                statuses[(await ask(app, hostile)).check()] += 1
            except Exception as error:
                raise AssertionError(f"request {number} of seed {SEED}: {hostile!r:.2000}") from error
            assert process.memory_info().rss - before < LARGEST_GROWTH, f"request {number} of seed {SEED}"
        return statuses

    statuses = asyncio.run(campaign())
    assert statuses.total() == IN_PROCESS
    assert {200, 400, 403, 413, 415, 422} <= statuses.keys(), statuses


@pytest.mark.integration
class TestRunningService:
    def test_hundreds_of_hostile_requests_over_http(self, service: Service, client: httpx.Client) -> None:
        pids, before = service.pids(), resident_bytes(service)
        peak = 0

        def post(hostile: Hostile) -> int:
            headers = [(name.encode(), value.encode()) for name, value in hostile.headers if value.isprintable()]
            response = client.post(f"/detect?{urlencode(hostile.query)}", content=hostile.body, headers=headers)
            return Answered(response.status_code, response.headers.raw, response.content).check()

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            statuses: Counter[int] = Counter()
            for status in pool.map(post, hostile_requests(SEED + 1, OVER_HTTP)):
                statuses[status] += 1
                if statuses.total() % 50 == 0:
                    peak = max(peak, resident_bytes(service))
        assert {200, 400, 413, 415, 422} <= statuses.keys(), statuses
        assert service.pids() == pids
        assert peak - before < LARGEST_GROWTH

    @pytest.mark.parametrize(
        ("declared", "sent", "status"),
        [
            ("30000000", b"x", 413),
            ("9" * 30, b"x", 400),
            ("-1", b"x", 400),
            ("abc", b"x", 400),
        ],
    )
    def test_a_content_length_that_lies(self, service: Service, declared: str, sent: bytes, status: int) -> None:
        answer = raw(service, lying_head(declared) + sent)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())

    def test_what_is_more_than_declared_is_no_second_request(self, service: Service) -> None:
        answer = raw(service, lying_head("5") + b"x" * 50)
        # HAProxy passes on the five bytes, which are not an image, before it refuses the rest.
        assert answer.startswith(b"HTTP/1.1 422 " if service.node.mode is Mode.fast else b"HTTP/1.1 400 ")
        assert b"HTTP/1.1 200 " not in answer

    def test_a_body_shorter_than_declared_and_slow_senders_get_408(self, service: Service) -> None:
        head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5000\r\n\r\n"
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda number: slow(service, head, number), range(30)))
        for answer in answers:
            status, _, body = answer.partition(b"\r\n\r\n")
            assert status.startswith(b"HTTP/1.1 408 "), answer
            assert Problem.model_validate_json(body).code == "body_timeout"
        response = httpx.get(f"{service.url}/readyz", trust_env=False)
        assert response.json()["ready"]

    @pytest.mark.parametrize("size", [8_000, 60_000, 200_000])
    def test_huge_headers(self, service: Service, size: int, photo: bytes) -> None:
        head = f"POST /detect HTTP/1.1\r\nHost: x\r\nX-Client-Id: {'k' * size}\r\nContent-Type: image/jpeg\r\n"
        answer = raw(service, head.encode() + f"Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
        assert int(answer.split()[1]) < 500


def resident_bytes(service: Service) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pids in service.pids().values() for pid in pids)


def lying_head(declared: str) -> bytes:
    head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {declared}\r\n\r\n"
    return head.encode()


def raw(service: Service, request: bytes) -> bytes:
    """Send bytes as they are; give back the beginning of what comes."""
    with socket.create_connection(("127.0.0.1", service.node.ports.http), timeout=60) as connection:
        with suppress(ConnectionError):  # a refusal may come, and the connection close, while this is still sending
            connection.sendall(request)
        return connection.recv(1 << 20)


def slow(service: Service, head: bytes, number: int) -> bytes:
    """Send some bytes, now and then another one, and never the rest; give back the answer."""
    answer = b""
    with socket.create_connection(("127.0.0.1", service.node.ports.http), timeout=1) as connection:
        connection.sendall(head)
        for _ in range(90):
            try:
                answer += connection.recv(1 << 20)
            except TimeoutError:
                if number % 2:
                    connection.sendall(b"x")
            if answer.endswith(b"}"):
                break
    return answer
