"""The Router without Serve: its parts put together, on fake handles, over its own ASGI application."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from ray.exceptions import ActorDiedError
from ray.serve.handle import DeploymentHandle

from serve_app.errors import BackendUnavailable
from serve_app.observability.metrics import RouterMetrics
from serve_app.observability.shared_page import REUSE_S
from serve_app.router import Router
from serve_app.schemas import BackendStatus
from serve_app.settings import LimitSettings
from tests.unit.backends.fake_handle import FakeHandle, with_tables
from tests.unit.observability.test_metrics import Recorder
from tests.unit.virtual_time import VirtualClock

JPEG = {"Content-Type": "image/jpeg"}


class Bed:
    """A router between two fake handles, both with one replica."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.torch, self.onnx, self.recorder = FakeHandle(), FakeHandle(), Recorder()
        for handle in (self.torch, self.onnx):
            handle.replicas = {"replica": "running"}
        monkeypatch.setattr("serve_app.router.RouterMetrics", lambda: RouterMetrics(self.recorder))
        monkeypatch.setattr("ray.serve.get_replica_context", lambda: SimpleNamespace(app_name="detect"))

    def use(self, use: Callable[[Router, httpx.AsyncClient], Awaitable[None]]) -> None:
        async def go() -> None:
            torch, onnx = (cast(DeploymentHandle[Any], handle) for handle in (self.torch, self.onnx))
            router = Router(LimitSettings(), torch, onnx)
            transport = httpx.ASGITransport(router.__serve_build_asgi_app__())
            async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
                await asyncio.sleep(0.1)  # the first look at the replicas
                await use(router, client)

        with with_tables():
            VirtualClock().run(go())

    def last(self, series: str) -> dict[str, float]:
        """The latest value of a gauge, by backend."""
        return {labels.get("backend", ""): value for value, labels in self.recorder.of(series)}


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch) -> Bed:
    return Bed(monkeypatch)


def test_the_policy_decides_who_answers(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        answered = []
        for fraction in (0.0, 1.0, 0.0):
            await router.reconfigure({"onnx_fraction": fraction})
            response = await client.post("/detect", content=b"image", headers=JPEG)
            answered.append((response.status_code, response.json()["backend"]))
        assert answered == [(200, "torch"), (200, "onnx"), (200, "torch")]

    bed.use(use)
    outcomes = [
        (labels["assigned"], labels["outcome"])
        for value, labels in bed.recorder.of("detect_requests_total")
        if value == 1
    ]
    assert outcomes == [("torch", "ok"), ("onnx", "ok"), ("torch", "ok")]


def test_a_wrong_policy_is_named_and_the_last_good_one_stays(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"onnx_fraction": 1.0})
        await router.reconfigure({"onnx_fraction": 2.0})
        state = (await client.get("/readyz")).json()
        assert state["policy"]["onnx_fraction"] == 1.0
        assert "Router.user_config.onnx_fraction" in state["policy_error"]
        assert (await client.post("/detect", content=b"image", headers=JPEG)).json()["backend"] == "onnx"
        await asyncio.sleep(1)
        assert bed.last("detect_policy_rejected") == {"": 1.0}
        await router.reconfigure({"onnx_fraction": 0.0})
        assert (await client.get("/readyz")).json()["policy_error"] is None

    bed.use(use)


def test_readiness_shows_both_backends_and_needs_one(bed: Bed) -> None:
    bed.onnx.outcomes["status"] = BackendStatus(state="unavailable", reason="no artifact")

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["ready"]) == (200, True)
        assert response.json()["backends"] == {
            "torch": {"state": "ready", "breaker_open": False, "timeout_s": 10.0, "replicas": 1},
            "onnx": {
                "state": "unavailable",
                "reason": "no artifact",
                "breaker_open": False,
                "timeout_s": 10.0,
                "replicas": 1,
            },
        }
        bed.torch.outcomes["status"] = ActorDiedError()
        bed.torch.replicas = None  # Ray does not tell
        await asyncio.sleep(2)
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["ready"]) == (503, False)
        assert response.json()["backends"]["torch"]["replicas"] is None

    bed.use(use)


def test_a_refused_configuration_stands_beside_the_state_and_in_its_gauge(bed: Bed) -> None:
    bed.onnx.outcomes["status"] = BackendStatus(state="ready", configuration_error="no artifact; run: x", reload=2)

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        told = (await client.get("/readyz")).json()["backends"]["onnx"]
        assert (told["state"], told["configuration_error"], told["reload"]) == ("ready", "no artifact; run: x", 2)
        await asyncio.sleep(1)
        assert bed.last("detect_configuration_rejected") == {"torch": 0.0, "onnx": 1.0}
        bed.onnx.outcomes["status"] = BackendStatus(state="ready", reload=3)
        await asyncio.sleep(2)
        assert bed.last("detect_configuration_rejected") == {"torch": 0.0, "onnx": 0.0}
        assert "configuration_error" not in (await client.get("/readyz")).json()["backends"]["onnx"]

    bed.use(use)


def test_readiness_shows_the_time_out_in_force(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await client.post("/detect", content=b"image", headers=JPEG)
        state = (await client.get("/readyz")).json()
        assert state["policy"]["arm_timeout_s"] == "auto"
        assert [state["backends"][name]["timeout_s"] for name in ("torch", "onnx")] == [1.0, 10.0]
        await router.reconfigure({"arm_timeout_s": 7})
        state = (await client.get("/readyz")).json()
        assert [state["backends"][name]["timeout_s"] for name in ("torch", "onnx")] == [7.0, 7.0]

    bed.use(use)


def test_an_onnx_with_other_weights_carries_no_traffic(bed: Bed) -> None:
    bed.torch.outcomes["status"] = BackendStatus(state="ready", fingerprint="sha256:old")
    bed.onnx.outcomes["status"] = BackendStatus(state="ready", fingerprint="sha256:new")

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"onnx_fraction": 1.0, "allow_override": True})
        answer = (await client.post("/detect", content=b"image", headers=JPEG)).json()
        assert (answer["assigned"], answer["backend"]) == ("torch", "torch")
        state = (await client.get("/readyz")).json()
        assert "reason" not in state["backends"]["torch"]
        told = state["backends"]["onnx"]["reason"]
        assert told.startswith("the weights differ: Torch has sha256:old and ONNX sha256:new")
        forced = await client.post("/detect", content=b"image", headers=JPEG | {"X-Backend": "onnx"})
        assert (forced.status_code, forced.json()["code"]) == (503, "backend_unavailable")
        assert forced.json()["detail"] == told
        bed.onnx.outcomes["status"] = BackendStatus(state="unavailable", reason="no artifact")
        await asyncio.sleep(2)
        assert (await client.get("/readyz")).json()["backends"]["onnx"]["reason"] == f"no artifact; {told}"
        bed.onnx.outcomes["status"] = bed.torch.outcomes["status"]
        await asyncio.sleep(2)
        answer = (await client.post("/detect", content=b"image", headers=JPEG)).json()
        assert (answer["assigned"], answer["backend"]) == ("onnx", "onnx")

    bed.use(use)


def test_readiness_names_the_replica_that_cannot_answer(bed: Bed) -> None:
    bed.onnx.replicas = {"well": "running", "ill": "running"}
    bed.onnx.told = {"well": {"state": "ready"}, "ill": {"state": "unavailable", "reason": "no artifact; run: x"}}

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        told = (await client.get("/readyz")).json()["backends"]["onnx"]
        assert (told["state"], told["replicas"], told["replicas_ready"]) == ("ready", 2, 1)
        assert told["replica_errors"] == {"ill": "no artifact; run: x"}
        await asyncio.sleep(1)
        assert bed.last("detect_replicas_unavailable") == {"torch": 0, "onnx": 1}

    bed.use(use)


def test_the_limit_on_places_is_wired(bed: Bed) -> None:
    bed.torch.takes_s["detect"] = 1

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"max_inflight": 1})

        async def post() -> int:
            return (await client.post("/detect", content=b"image", headers=JPEG)).status_code

        assert sorted(await asyncio.gather(post(), post())) == [200, 503]

    bed.use(use)


def test_a_backend_without_replicas_is_passed_over(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"onnx_fraction": 1.0})
        assert bed.onnx.replicas
        bed.onnx.replicas.clear()
        answer = (await client.post("/detect", content=b"image", headers=JPEG)).json()
        assert (answer["assigned"], answer["backend"]) == ("onnx", "torch")

    bed.use(use)


def test_the_gauges_are_set_again_all_the_time(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"onnx_fraction": 0.25})
        await asyncio.sleep(10)

    bed.use(use)
    assert bed.last("detect_onnx_fraction") == {"": 0.25}
    assert bed.last("detect_backend_up") == {"torch": 1.0, "onnx": 1.0}
    assert bed.last("detect_inflight") == bed.last("detect_breaker_open") == {"torch": 0.0, "onnx": 0.0}
    assert 20 <= len(list(bed.recorder.of("detect_onnx_fraction"))) <= 22


def test_the_metrics_page_gathers_the_agents_of_all_living_nodes(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"NodeManagerAddress": "10.0.0.1", "MetricsExportPort": 8090, "Alive": True},
        {"NodeManagerAddress": "10.0.0.2", "MetricsExportPort": 8090, "Alive": False},
        {"NodeManagerAddress": "10.0.0.3", "MetricsExportPort": 8091, "Alive": True},
    ]
    asked: list[tuple[list[str], str]] = []

    async def gather(agents: list[str], application: str) -> list[Metric]:
        asked.append((agents, application))
        if len(asked) > 1:
            raise BackendUnavailable("no metrics agent of Ray answers")
        return [CounterMetricFamily("ray_detect_requests", "Requests.", 5)]

    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("serve_app.router.gather_families", gather)

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        responses = await asyncio.gather(*(client.get("/metrics") for _ in range(8)))
        assert {response.status_code for response in responses} == {200}
        assert {response.text.splitlines()[-1] for response in responses} == {"ray_detect_requests_total 5.0"}
        assert asked == [(["10.0.0.1:8090", "10.0.0.3:8091"], "detect")]
        await asyncio.sleep(2 * REUSE_S)
        assert (await client.get("/metrics")).status_code == 503

    bed.use(use)


def test_disagreements_are_shown(bed: Bed) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        await router.reconfigure({"shadow_fraction": 1.0, "shadow_noise_share": 0.0})
        await client.post("/detect", content=b"image", headers=JPEG)
        await asyncio.sleep(1)
        report = (await client.get("/shadow/disagreements")).json()
        assert report["comparisons"]["agree"] == 1

    bed.use(use)


def test_a_background_task_that_ends_is_logged(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(router: Router, client: httpx.AsyncClient) -> None:
        monkeypatch.setattr(bed.recorder, "events", None)  # the next gauge cannot be recorded
        await asyncio.sleep(1)

    bed.use(use)
    assert "a background task of the router ended" in caplog.text
    assert "AttributeError" in caplog.text


def test_the_old_flag_is_a_warning_in_the_log_and_never_acted_on(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr("serve_app.router.logger.warning", logged.append)
    monkeypatch.setenv("USE_ONNX", "true")

    async def use(router: Router, client: httpx.AsyncClient) -> None:
        assert (await client.post("/detect", content=b"image", headers=JPEG)).json()["backend"] == "torch"

    bed.use(use)
    [warning] = logged
    assert warning.startswith("USE_ONNX='true' is set and changes nothing")
    assert warning.endswith("(make split ONNX=1)")
