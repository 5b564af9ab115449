"""The dashboards are what their Python makes, and keep the rules of Grafana's dashboard linter."""

import re
from typing import Any

import pytest
import yaml

from configs.grafana import build
from tests.config.dashboards import DASHBOARDS, FOLDER, Query, panels, queries

PANELS = [pytest.param(panel, id=f"{name}, {panel['title']}") for name in DASHBOARDS for panel in panels(name)]
UNITS = {"s", "none", "percent", "percentunit", "reqps", "bytes", "bool_yes_no"}
DATASOURCE = {"type": "prometheus", "uid": "$datasource"}
by_name = pytest.mark.parametrize("name", DASHBOARDS)
by_panel = pytest.mark.parametrize("panel", PANELS)
by_query = pytest.mark.parametrize("query", queries(), ids=lambda query: query.where)


def test_the_files_are_what_their_python_makes() -> None:
    written = {path.name: path.read_text() for path in (FOLDER / "dashboards").iterdir()}
    assert written == build.rendered(), "stale: run python -m configs.grafana.build"


@by_name
def test_a_dashboard_cannot_be_edited_and_has_its_own_id(name: str) -> None:
    board = DASHBOARDS[name]
    assert board["editable"] is False
    assert board["uid"] == f"detect-{name}"
    assert "id" not in board


@by_name
def test_the_variables_are_those_that_the_linter_asks_for(name: str) -> None:
    datasource, job, instance = DASHBOARDS[name]["templating"]["list"]
    assert (datasource["name"], datasource["label"]) == ("datasource", "Data source")
    assert (datasource["type"], datasource["query"]) == ("datasource", "prometheus")
    for variable, label in ((job, "Job"), (instance, "Instance")):
        assert (variable["name"], variable["label"], variable["type"]) == (label.lower(), label, "query")
        assert variable["datasource"] == DATASOURCE
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert variable["refresh"] == 2, "also when the time range changes"


@by_name
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    everything = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


@by_panel
def test_a_panel_has_title_description_unit_and_the_data_source(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == DATASOURCE
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert target["legendFormat"]


@by_query
def test_every_selector_carries_job_and_instance(query: Query) -> None:
    selectors = re.findall(r"\b(?:ray_\w+|up)\b(?:\{([^}]*)\})?", query.expr)
    assert selectors
    for matchers in selectors:
        assert matchers.startswith('job=~"$job",instance=~"$instance"')


@by_query
def test_rates_look_back_over_the_rate_interval(query: Query) -> None:
    assert set(re.findall(r"\b(?:rate|changes)\([^[]*\[([^]]*)\]", query.expr)) <= {"$__rate_interval"}
    assert set(re.findall(r"\[([^]]*)\]", query.expr)) <= {"$__rate_interval", "$__range"}


@by_query
def test_counters_are_only_read_as_rates(query: Query) -> None:
    for counter in re.finditer(r"\b\w+_total\b", query.expr):
        assert query.expr[: counter.start()].endswith(("rate(", "increase("))


def test_the_provisioning_points_at_what_compose_starts() -> None:
    [source] = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((FOLDER / "provisioning/dashboards/detect.yml").read_text())["providers"]
    services = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text())["services"]
    scrape = yaml.safe_load((FOLDER.parent / "prometheus/prometheus.yml").read_text())["global"]
    [listen] = [option for option in services["prometheus"]["command"] if option.startswith("--web.listen-address=")]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert source["url"] == f"http://{listen.partition('=')[2]}"
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    assert mounts == {
        "./grafana/provisioning": "/etc/grafana/provisioning",
        "./grafana/dashboards": provider["options"]["path"],
    }
    assert all((FOLDER.parent / mount).is_dir() for mount in mounts)
