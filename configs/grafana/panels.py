"""What every panel of the dashboards has in common. Called by the dashboards of this folder."""

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

DATASOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
# The least distance of two points in a graph. A quantile over a shorter time would have too few requests.
MIN_INTERVAL = "30s"
COLORS = {"torch": "orange", "onnx": "blue"}


class Query(NamedTuple):
    """One expression and the legend of its series."""

    expr: str
    legend: str


def graph(title: str, description: str, unit: str, queries: Sequence[Query], width: int = 8) -> timeseries.Panel:
    """Lines over time; torch and onnx have the same colour everywhere."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .interval(MIN_INTERVAL)
        .span(width)
        .height(8)
        .fill_opacity(0)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    for backend, color in COLORS.items():
        panel = panel.override_by_regexp(
            f"^{backend}", [DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})]
        )
    return panel.targets([target(query, index) for index, query in enumerate(queries)])


def bars(title: str, description: str, unit: str, queries: Sequence[Query], width: int = 12) -> timeseries.Panel:
    """Stacked bars over time."""
    return (
        graph(title, description, unit, queries, width)
        .draw_style(common_models.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    )


def band(title: str, description: str, unit: str, queries: Sequence[Query], width: int = 12) -> timeseries.Panel:
    """A line between two limits; the legends of the queries are `value`, `lower` and `upper`."""
    thin = DynamicConfigValue(id_val="custom.lineWidth", value=0)
    return (
        graph(title, description, unit, queries, width)
        .override_by_name("lower", [thin])
        .override_by_name(
            "upper",
            [
                thin,
                DynamicConfigValue(id_val="custom.fillBelowTo", value="lower"),
                DynamicConfigValue(id_val="custom.fillOpacity", value=20),
            ],
        )
    )


def number(title: str, description: str, unit: str, queries: Sequence[Query], width: int = 6) -> stat.Panel:
    """Latest figures, or figures over the time shown."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(width)
        .height(5)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_mode(common_models.BigValueColorMode.NONE)
        .text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([target(query, index).instant() for index, query in enumerate(queries)])
    )


def target(query: Query, index: int) -> prometheus.Dataquery:
    """A range query; `index` gives its letter."""
    return (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id("ABCDEFGH"[index])
        .datasource(DATASOURCE)
        .range()
    )


def empty_dashboard(title: str, uid: str, description: str, source_series: str) -> dashboard.Dashboard:
    """A dashboard with its variables; `source_series` is where jobs and instances are looked up."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["detect"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Job", f"label_values({source_series}, job)"))
        .with_variable(_variable("instance", "Instance", f'label_values({source_series}{{job=~"$job"}}, instance)'))
    )


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
