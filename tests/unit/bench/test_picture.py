"""The picture, from answers as Prometheus gives them."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.picture.drawing import Source, draw


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that Prometheus was asked; it always has two series, one of them with gaps."""
    expressions: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        expressions.append(request.url.params["query"])
        names = {"assigned": "onnx", "stage": "queue", "reason": "timeout"}
        values: list[list[Any]] = [[60.0, "0.5"], [65.0, "NaN"], [70.0, "+Inf"], [75.0, "0.25"]]
        found = [{"metric": names, "values": values}, {"metric": {**names, "assigned": "torch"}, "values": values}]
        return httpx.Response(200, json={"data": {"result": found}})

    plain = httpx.Client
    monkeypatch.setattr(
        "bench.picture.drawing.httpx.Client",
        lambda **_: plain(base_url="http://prometheus", transport=httpx.MockTransport(answer)),
    )
    return expressions


def test_a_series_has_minutes_since_the_start_and_gaps_where_there_is_no_number(asked: list[str]) -> None:
    series = Source("http://prometheus", start=0, end=120).series(
        "rate(x[$__rate_interval])", "{{assigned}}: {{reason}}"
    )
    minutes, values = series["onnx: timeout"]
    assert series.keys() == {"onnx: timeout", "torch: timeout"}
    assert minutes == pytest.approx([1.0, 65 / 60, 70 / 60, 1.25])
    assert values == pytest.approx([0.5, float("nan"), float("nan"), 0.25], nan_ok=True)
    assert asked == ["rate(x[30s])"]


def test_the_whole_dashboard_is_drawn(asked: list[str], tmp_path: Path) -> None:
    draw(Source("http://prometheus", start=0, end=120), tmp_path / "picture/decide.png", "a test")
    assert (tmp_path / "picture/decide.png").stat().st_size > 10_000
    assert len(asked) > 20
    assert not any("$" in expression for expression in asked)
