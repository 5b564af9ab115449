"""Prometheus' own checks of the shipped files, and every alert with failing, passing, missing and stale samples."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.alert_cases import CASES, QUIET, SAMPLES, Series
from tests.config.prometheus_tools import FOLDER, promtool

RUNBOOK = FOLDER.parents[1] / "docs/runbook.md"
MINUTES = SAMPLES * 15 // 60
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
RECORDS = [
    rule["record"] for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]


def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", "--lint=all", "--lint-fatal", FOLDER / "prometheus.yml")


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", FOLDER / "rules.yml", FOLDER / "alerts.yml")


@pytest.mark.parametrize("record", sorted(set(RECORDS)))
def test_each_record_is_named_by_level_metric_and_operation(record: str) -> None:
    level, metric, operation = record.split(":")
    assert level
    assert operation
    assert metric.startswith("detect_")


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_is_wrong_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    document, _, heading = alert["annotations"]["runbook_url"].partition("#")
    assert document == "docs/runbook.md"
    assert f"## {name}\n" in RUNBOOK.read_text()
    assert heading == name.lower()


def test_each_alert_has_its_cases() -> None:
    assert CASES.keys() == ALERTS.keys()


def run_cases(folder: Path, alert: str, series: Series, firing_at: dict[int, bool]) -> None:
    """Let promtool evaluate the shipped rules over `series`, and hold `alert` against `firing_at` (by minute)."""
    expression = f'group by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    firing = [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
    test = {
        "rule_files": [str(FOLDER / "rules.yml"), str(FOLDER / "alerts.yml")],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{minute}m", "exp_samples": firing if fires else []}
                    for minute, fires in firing_at.items()
                ],
            }
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", folder / "test.yml")


def ending_after(series: Series, minutes: int) -> Series:
    """The same series, gone stale after `minutes`."""
    return {
        name: values.replace(f"x{SAMPLES}", f"x{minutes * 4}") + f" stale _x{SAMPLES - minutes * 4}"
        for name, values in series.items()
    }


@pytest.mark.parametrize("alert", CASES)
def test_failing_samples_fire_once_the_failure_has_lasted(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    # It starts to fail with the second sample, from which on there is a rate.
    run_cases(tmp_path, alert, case.failing, {case.patience_minutes - 1: False, MINUTES: True})


@pytest.mark.parametrize("alert", CASES)
def test_passing_samples_never_fire(alert: str, tmp_path: Path) -> None:
    run_cases(tmp_path, alert, CASES[alert].passing, dict.fromkeys(range(1, MINUTES + 1), False))


@pytest.mark.parametrize("reason", QUIET)
def test_no_alert_for_what_only_looks_like_a_failure(reason: str, tmp_path: Path) -> None:
    alert, series = QUIET[reason]
    run_cases(tmp_path, alert, series, dict.fromkeys(range(1, MINUTES + 1), False))


@pytest.mark.parametrize("alert", CASES)
def test_with_no_samples_only_the_alert_for_that_fires(alert: str, tmp_path: Path) -> None:
    run_cases(tmp_path, alert, {}, {MINUTES: alert == "DetectNotObserved"})


@pytest.mark.parametrize("alert", CASES)
def test_samples_that_went_stale_end_the_alert_and_start_the_one_for_that(alert: str, tmp_path: Path) -> None:
    case, lasted = CASES[alert], 12
    if alert == "DetectNotObserved":
        run_cases(tmp_path, alert, ending_after(case.passing, lasted), {lasted: False, MINUTES: True})
    else:
        # A rate still looks back over the window before the end; a gauge ends at once.
        run_cases(tmp_path, alert, ending_after(case.failing, lasted), {lasted: True, MINUTES: False})
