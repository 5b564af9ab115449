"""What is asked of Serve's REST API and of `/readyz`, and how long."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.errors import ConfigurationError
from serve_app.local import deploy
from serve_app.local.node import Node
from serve_app.local.ports import Ports
from tests.unit.local.clocks import FakeClock

Answer = Callable[[httpx.Request], httpx.Response]
READY: dict[str, Any] = {"backends": {}}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "auth_token").write_text("secret\n")
    return Node(folder=tmp_path, ports=Ports(http=1, dashboard=2), pid=1, leader_born=0)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Give every request of the test to a function instead of the network."""

    def use(function: Answer) -> None:
        client = httpx.Client(transport=httpx.MockTransport(function))

        def request(
            method: str, url: str, *, trust_env: bool, verify: bool, timeout: float, **content: Any
        ) -> httpx.Response:
            assert not trust_env, "a proxy of the environment would not reach this machine"
            assert not verify, "to read the machine's certificates for plain HTTP costs 50 ms"
            return client.request(method, url, **content)

        monkeypatch.setattr(httpx, "request", request)
        monkeypatch.setattr(httpx, "get", lambda url, **options: request("GET", url, **options))

    return use


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_a_deploy_puts_the_config_with_the_secret(node: Node, answer: Callable[[Answer], None]) -> None:
    asked: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    answer(take)
    deploy.deploy(node, {"applications": []})
    [request] = asked
    assert (request.method, str(request.url)) == ("PUT", "http://127.0.0.1:2/api/serve/applications/")
    assert request.headers["Authorization"] == "Bearer secret"
    assert json.loads(request.content) == {"applications": []}


def test_a_refusal_is_shown_with_its_end(node: Node, answer: Callable[[Answer], None]) -> None:
    answer(lambda request: httpx.Response(400, text="x" * 3000 + "no such deployment"))
    with pytest.raises(ConfigurationError, match=r"Serve refused the request \(400\): x{1,2000}no such deployment$"):
        deploy.deploy(node, {})


def breaks_off(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("Server disconnected")


@pytest.mark.parametrize("first", [lambda _: httpx.Response(500, text="in trouble"), breaks_off])
def test_a_busy_dashboard_is_asked_again(node: Node, answer: Callable[[Answer], None], first: Answer) -> None:
    asked: list[bytes] = []

    def second_time(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return first(request) if len(asked) == 1 else httpx.Response(200)

    answer(second_time)
    deploy.deploy(node, {"applications": []}, FakeClock())
    assert len(asked) == 2
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("always", "told"),
    [
        (lambda _: httpx.Response(500, text="in trouble"), r"Serve refused the request \(500\): in trouble"),
        (breaks_off, "dashboard at http://127.0.0.1:2 broke off: Server disconnected"),
    ],
)
def test_a_dashboard_that_stays_busy_is_given_up(
    node: Node, answer: Callable[[Answer], None], always: Answer, told: str
) -> None:
    answer(always)
    clock = FakeClock()
    began = clock.monotonic()
    with pytest.raises(ConfigurationError, match=told):
        deploy.deploy(node, {}, clock)
    assert 60 <= clock.monotonic() - began <= 62


def test_a_dashboard_that_does_not_answer_is_named(node: Node, answer: Callable[[Answer], None]) -> None:
    answer(refused)
    with pytest.raises(ConfigurationError, match=r"dashboard at http://127\.0\.0\.1:2 does not answer: refused"):
        deploy.deploy(node, {})


@pytest.mark.parametrize(
    ("response", "state"),
    [
        (httpx.Response(200, json=READY), READY),
        (httpx.Response(503, json=READY), READY),
        (httpx.Response(404, text="no such path"), None),
        (httpx.Response(200, json=["another", "program"]), None),
        (httpx.Response(200, json={"another": "program"}), None),
    ],
)
def test_readiness_is_only_what_the_service_itself_says(
    node: Node, answer: Callable[[Answer], None], response: httpx.Response, state: dict[str, Any] | None
) -> None:
    answer(lambda request: response)
    assert deploy.readiness(node) == state


@pytest.mark.parametrize(
    ("applications", "reason"),
    [
        ({}, None),
        ({"detect": {"status": "DEPLOYING", "message": ""}}, None),
        ({"detect": {"status": "DEPLOY_FAILED", "message": "no such module"}}, "no such module"),
    ],
)
def test_a_failed_deploy_says_why(
    node: Node, answer: Callable[[Answer], None], applications: dict[str, Any], reason: str | None
) -> None:
    answer(lambda request: httpx.Response(200, json={"applications": applications}))
    assert deploy.failure(node) == reason


def test_waiting_ends_with_the_state_that_is_asked_for(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([None, {"backends": {}, "n": 1}, {"backends": {}, "n": 2}, {"backends": {}, "n": 3}])
    monkeypatch.setattr(deploy, "readiness", lambda node: next(states))
    monkeypatch.setattr(deploy, "failure", lambda node: None)
    assert deploy.wait_until(node, lambda state: state["n"] == 2, 60, FakeClock())["n"] == 2


def test_waiting_ends_with_a_failed_deploy(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = iter([None, "no such module"])
    monkeypatch.setattr(deploy, "readiness", lambda node: None)
    monkeypatch.setattr(deploy, "failure", lambda node: next(reasons))
    with pytest.raises(ConfigurationError, match="the deploy failed: no such module"):
        deploy.wait_until(node, bool, 60, FakeClock())


def test_waiting_is_given_up_with_the_last_state(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    began = clock.now
    monkeypatch.setattr(deploy, "readiness", lambda node: {"backends": {"onnx": "starting"}})
    with pytest.raises(ConfigurationError, match=r"not ready within 60 s; the last state was .*starting"):
        deploy.wait_until(node, lambda state: False, 60, clock)
    assert clock.now - began == pytest.approx(60, abs=0.2)


def test_a_busy_dashboard_does_not_end_the_wait_for_the_service(node: Node, answer: Callable[[Answer], None]) -> None:
    asked: list[str] = []

    def starting(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path != "/readyz":
            return httpx.Response(500, text="in trouble")
        return httpx.Response(200, json=READY) if asked.count("/readyz") == 3 else httpx.Response(404)

    answer(starting)
    assert deploy.wait_until(node, lambda state: True, 10, FakeClock()) == READY
    assert asked.count("/api/serve/applications/") == 2


def after_reload(error: str | None, reload: int) -> dict[str, Any]:
    backend: dict[str, Any] = {"state": "ready", "reload": reload}
    return {
        "backends": {"torch": {"state": "ready"}, "onnx": backend | ({"configuration_error": error} if error else {})}
    }


def test_waiting_for_a_reload_ends_with_the_reason_why_it_was_after_reload(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    began = clock.now
    monkeypatch.setattr(deploy, "readiness", lambda node: after_reload("no artifact; run: python -m export", 2))
    with pytest.raises(
        ConfigurationError, match=r"^onnx keeps its last good model: no artifact; run: python -m export$"
    ):
        deploy.wait_until(node, lambda state: True, 180, clock, backends_take_it=True)
    assert 3 < clock.now - began < 4


def test_a_refusal_that_is_only_the_news_of_before_ends_no_wait(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = after_reload("before", 1), after_reload(None, 2)
    states = iter([*[before] * 20, *[now] * 5, *[before] * 20, {**now, "last": True}])
    monkeypatch.setattr(deploy, "readiness", lambda node: next(states))
    assert deploy.wait_until(node, lambda state: "last" in state, 180, FakeClock(), backends_take_it=True)["last"]


def test_who_waits_for_something_else_is_not_stopped_by_a_refusal(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    state = after_reload("no artifact", 2)
    monkeypatch.setattr(deploy, "readiness", lambda node: state)
    assert deploy.wait_until(node, lambda state: True, 180, FakeClock()) == state
    assert deploy.refusals(state) == ["onnx keeps its last good model: no artifact"]
