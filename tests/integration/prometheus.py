"""A real Prometheus on the test node with the shipped files, and its HTTP API. Used by test_observability."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from serve_app.local import monitor
from serve_app.local.node import Node
from serve_app.local.ports import free_port
from tests.config.prometheus_tools import FOLDER, find_tool

# Minutes of the shipped rules become seconds, so that one run of some minutes sees windows end and alerts fire.
# That the shipped durations do what they should is tested with promtool.
WINDOWS = {"5m": "30s", "6m": "35s"}
ALERT_FOR_S = 2
SCRAPE_S = (
    3  # not shorter: this is also the time a target has to answer, on a machine that is busy with the test itself
)
PATIENCE_S = 180

Labels = dict[str, str]
Matrix = list[tuple[Labels, list[tuple[float, float]]]]


class Prometheus:
    """Queries over HTTP, as Grafana asks them."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **parameters: str | float) -> Any:
        """The `data` of an answer; fails with Prometheus' own words."""
        response = self._client.get(path, params=parameters)
        content = response.json()
        assert content["status"] == "success", f"{parameters}: {content}"
        return content["data"]

    def instant(self, expr: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """The value of each series at one time."""
        result = self.get("/query", query=expr, **({} if at is None else {"time": at}))["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def number(self, expr: str, at: float | None = None) -> float:
        """The value of an expression with one series; NaN without."""
        found = self.instant(expr, at)
        assert len(found) <= 1, found
        return found[0][1] if found else math.nan

    def over(self, expr: str, start: float, end: float, step_s: int = 1) -> Matrix:
        """Each series over a span of time, both ends included: the last step may lie up to one step after `end`."""
        result = self.get("/query_range", query=expr, start=start, end=end + step_s, step=step_s)["result"]
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]]) for series in result]

    def wait_for(
        self,
        expr: str,
        done: Callable[[float], bool] = lambda value: not math.isnan(value),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> float:
        """Poll until the expression's value is as wanted, calling `meanwhile` between the polls."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(value := self.number(expr)):
            assert time.monotonic() < deadline, f"{expr} is {value}"
            meanwhile()
            time.sleep(0.5)
        return value

    def wait_for_scrape(self) -> float:
        """Wait until every target was scraped once more and answered; gives a time when that was so.

        It lies so far back that no scrape from before it is under way: a later one that fails does not change it.
        """
        now = time.time()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            at = time.time() - SCRAPE_S - 0.5
            if self.number("min(timestamp(up)) and min(up) == 1", at) > now:
                return at
            assert time.monotonic() < deadline, f"not all targets answer: {self.instant('up')}"
            time.sleep(0.5)

    def wait_for_alert(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until an alert fires, or has fired."""
        firing = f'count(max_over_time(ALERTS{{alertname="{name}",alertstate="firing"}}[10m]))'
        self.wait_for(firing, meanwhile=meanwhile)


@contextmanager
def watching(node: Node, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the shipped files on `node`: free ports, short intervals; ended with the block."""
    find_tool("prometheus")
    monitor.write_config(node, folder, FOLDER)
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name in config["rule_files"]:
        # The 2 minutes of DetectNotObserved stay: on a busy machine no series may arrive for some seconds.
        text = re.sub(r"for: (1|5|10)m", f"for: {ALERT_FOR_S}s", (folder / name).read_text())
        (folder / name).write_text(in_short_windows(text))
    with (
        monitor.prometheus(folder, free_port()) as url,
        httpx.Client(base_url=f"{url}/api/v1", timeout=30, trust_env=False) as client,
    ):
        yield Prometheus(client)


def in_short_windows(text: str) -> str:
    """The text with each window of the shipped rules, also in the names of records, as this module shortens it."""
    for shipped, short in WINDOWS.items():
        text = re.sub(rf"(?<![0-9]){shipped}\b", short, text)
    return text
