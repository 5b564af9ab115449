"""What observability costs: the comparison's table, and the application that it is compared with."""

import re

import pytest

from bench.observability import __main__ as observability
from bench.observability import unobserved
from bench.observability.__main__ import Round, Side
from bench.processes import PARTS
from serve_app.observability.metrics import RouterMetrics
from serve_app.settings import AppSettings


def rounds(p50_s: float, cores: float) -> list[Round]:
    return [{"p50, ms": p50_s * 1e3} | dict.fromkeys(PARTS, cores / len(PARTS))] * 4


def test_the_table_has_each_difference_and_each_part() -> None:
    measured: dict[Side, list[Round]] = {
        "on": rounds(0.0185, 1.2),
        "Ray alone": rounds(0.0180, 1.16),
        "nothing": rounds(0.0175, 1.12),
    }
    lines = observability.table(measured, cores=2).splitlines()
    cells = {line.split("|")[1].strip(): re.findall(r"[-+]?\d+\.\d+", line) for line in lines[2:]}
    assert cells["p50, ms"] == ["18.50", "18.00", "17.50", "+0.50", "+0.50", "+0.50", "+1.00", "+1.00", "+1.00"]
    assert cells["processor time, % of the machine"][3::3] == ["+2.00", "+4.00"]
    assert sum(float(cells[f"of it {part}"][0]) for part in PARTS) == pytest.approx(60, abs=0.1)


def test_series_that_lead_nowhere_take_all_that_the_router_tells() -> None:
    metrics = RouterMetrics(unobserved._Nowhere)
    metrics.start_counters(["ok"], ["timeout"])
    metrics.answered("onnx", 0.1)
    metrics.stages("onnx", {"decode": 0.1})
    metrics.policy(0.5, rejected=False)


def test_only_the_router_differs_from_the_shipped_application() -> None:
    application = unobserved.app(AppSettings())
    deployment = application._bound_deployment
    assert deployment.name == "Router"
    assert issubclass(deployment.func_or_class, unobserved.Router)  # type: ignore[arg-type]
