"""The dashboard to operate by: replicas, queues, saturation, memory, restarts. Most of it is Ray's own series."""

from grafana_foundation_sdk.builders import dashboard, table
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from configs.grafana import promql
from configs.grafana.panels import DATASOURCE, Query, empty_dashboard, graph, number, target

HEALTHY = "ray_serve_deployment_replica_healthy"


def build() -> dashboard.Dashboard:
    """All of the dashboard."""
    board = empty_dashboard(
        "Detect: operate", "detect-operate", "Replicas, queues, saturation, memory and restarts.", "up"
    )
    for row in (_state, _replicas, _queues, _machine):
        board = row(board)
    return board


def _sum(series: str, by: str) -> str:
    return f"sum by ({by}) ({promql.select(series)})"


def _state(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("State"))
        .with_panel(
            number(
                "Backend ready",
                "Whether every router has an answer from a backend that can serve.",
                "bool_yes_no",
                [Query(promql.worst("ray_detect_backend_up", "backend", "min"), "{{backend}}")],
                5,
            )
        )
        .with_panel(
            number(
                "Breaker open",
                "Whether a router sends no requests to a backend, after repeated failures.",
                "bool_yes_no",
                [Query(promql.worst("ray_detect_breaker_open", "backend"), "{{backend}}")],
                5,
            )
        )
        .with_panel(
            number(
                "Configuration refused",
                "Whether the latest policy or backend configuration was refused; the one before it is in force then.",
                "bool_yes_no",
                [
                    Query(promql.worst("ray_detect_policy_rejected"), "policy"),
                    Query(promql.worst("ray_detect_configuration_rejected", "backend"), "{{backend}}"),
                ],
                4,
            )
        )
        .with_panel(
            number(
                "Targets that answer",
                "Scrape targets that Prometheus reaches, by job.",
                "none",
                [Query(_sum("up", "job"), "{{job}}")],
                4,
            )
        )
        .with_panel(_builds())
    )


def _builds() -> table.Panel:
    labels = "backend, engine, versions, device, precision, threads, fingerprint, service_version"
    query = Query(f"max by ({labels}) ({promql.select('ray_detect_build_info')})", "{{backend}}")
    return (
        table.Panel()
        .title("What runs")
        .description("Engine, versions, precision, threads and model of each ready backend.")
        .datasource(DATASOURCE)
        .unit("none")
        .span(6)
        .height(5)
        .with_target(target(query, 0).instant().format(PromQueryFormat.TABLE))
    )


def _replicas(board: dashboard.Dashboard) -> dashboard.Dashboard:
    started = promql.select("ray_serve_deployment_replica_starts_total")
    errors = promql.select("ray_serve_num_http_error_requests_total")
    return (
        board.with_row(dashboard.Row("Replicas"))
        .with_panel(
            graph(
                "Healthy replicas",
                "Replicas whose latest health check passed.",
                "none",
                [Query(_sum(HEALTHY, "deployment"), "{{deployment}}")],
            )
        )
        .with_panel(
            graph(
                "Replica starts",
                "Replicas started in each interval: after a deploy, or in place of one that died.",
                "none",
                [Query(f"sum by (deployment) (increase({started}[$__rate_interval]))", "{{deployment}}")],
            )
        )
        .with_panel(
            graph(
                "HTTP errors",
                "Answers per second that were errors, by status.",
                "reqps",
                [Query(f"sum by (error_code) (rate({errors}[$__rate_interval]))", "{{error_code}}")],
            )
        )
    )


def _queues(board: dashboard.Dashboard) -> dashboard.Dashboard:
    waiting = promql.rate("ray_detect_stage_seconds_bucket", "backend, le", 'stage="queue"')
    return (
        board.with_row(dashboard.Row("Queues and saturation"))
        .with_panel(
            graph(
                "Queued",
                "Requests that wait for a place at a replica.",
                "none",
                [Query(_sum("ray_serve_deployment_queued_queries", "deployment"), "{{deployment}}")],
                6,
            )
        )
        .with_panel(
            graph(
                "Under way",
                "Calls that a router has open at a backend.",
                "none",
                [Query(_in_flight(), "{{backend}}")],
                6,
            )
        )
        .with_panel(
            graph(
                "Waiting, p95",
                "Seconds of a request without work: in queues, on the way there and back, and at the engine's lock.",
                "s",
                [Query(f"histogram_quantile(0.95, {waiting})", "{{backend}}")],
                6,
            )
        )
        .with_panel(
            graph(
                "Refused",
                "Requests per second refused with 503 because the router was full.",
                "reqps",
                [Query(promql.rate("ray_detect_overloaded_total"), "refused")],
                6,
            )
        )
    )


def _in_flight() -> str:
    return f"max by (backend) (sum by (job, backend) ({promql.select('ray_detect_inflight')}))"


def _machine(board: dashboard.Dashboard) -> dashboard.Dashboard:
    used, free = promql.worst("ray_node_mem_used", "instance"), promql.worst("ray_node_mem_available", "instance")
    return (
        board.with_row(dashboard.Row("Machine"))
        .with_panel(
            graph(
                "CPU",
                "Use of all cores of a node; above 85 % latency grows faster than traffic.",
                "percent",
                [Query(promql.worst("ray_node_cpu_utilization", "instance"), "{{instance}}")],
            ).max(100)
        )
        .with_panel(
            graph(
                "Memory of a node",
                "Share of a node's memory in use; near 95 % Ray ends processes.",
                "percentunit",
                [Query(f"{used} / ({used} + {free})", "{{instance}}")],
            ).max(1)
        )
        .with_panel(
            graph(
                "Memory by process",
                "Resident memory of the processes of a kind.",
                "bytes",
                [Query(_sum("ray_component_rss_bytes", "Component"), "{{Component}}")],
            )
        )
    )
