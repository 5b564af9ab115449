"""The dashboard to decide by: is the candidate better, and may the split be moved?"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from configs.grafana import promql
from configs.grafana.panels import Query, band, bars, empty_dashboard, graph, number

FRACTION = "ray_detect_onnx_fraction"
REQUESTS = "ray_detect_requests_total"
BAND_HELP = (
    "The band is the 95 % confidence band: if 1 lies inside it, the backends cannot be told apart. "
    "With too few requests the band has no limits."
)


def build() -> dashboard.Dashboard:
    """All of the dashboard."""
    board = empty_dashboard(
        "Detect: decide", "detect-decide", "Torch against ONNX: everything needed to move the split.", FRACTION
    ).annotation(_split_changes())
    for row in (_verdict, _traffic, _latency, _stages, _answers):
        board = row(board)
    return board


def _split_changes() -> dashboard.AnnotationQuery:
    changed = f"max(changes({promql.select(FRACTION)}[{promql.RATE_INTERVAL}])) > 0"
    return (
        dashboard.AnnotationQuery()
        .name("onnx_fraction changed")
        .datasource(DataSourceRef(type_val="prometheus", uid="$datasource"))
        .enable(True)
        .icon_color("purple")
        .expr(changed)
    )


def _verdict(board: dashboard.Dashboard) -> dashboard.Dashboard:
    whole = promql.WHOLE_RANGE
    board = board.with_row(dashboard.Row("Over the time shown")).with_panel(
        number(
            "Share of ONNX",
            "Configured now, and the share of requests that were drawn for ONNX over the time shown.",
            "percentunit",
            [Query(promql.worst(FRACTION), "configured"), Query(promql.onnx_share(whole), "observed")],
            4,
        )
    )
    for quantile in (0.5, 0.95):
        board = board.with_panel(
            number(
                f"ONNX / Torch, p{quantile * 100:.0f}",
                f"Ratio of the latency quantiles over the time shown; below 1 ONNX is faster. {BAND_HELP}",
                "none",
                _ratio(quantile, whole),
                6,
            ).decimals(2)
        )
    return board.with_panel(
        number(
            "Failed or rescued",
            "Share of each backend's requests that failed, ran out of time or were answered by the other backend.",
            "percentunit",
            [Query(promql.failure_ratio(whole), "{{assigned}}")],
            4,
        ).decimals(2)
    ).with_panel(
        number(
            "Agreement",
            "Share of shadow comparisons in which both backends found the same, and of Torch compared with itself.",
            "percentunit",
            [
                Query(promql.agreement(window=whole), "ONNX with Torch"),
                Query(promql.agreement("noise_", whole), "Torch with itself"),
            ],
            4,
        ).decimals(2)
    )


def _traffic(board: dashboard.Dashboard) -> dashboard.Dashboard:
    return (
        board.with_row(dashboard.Row("Traffic"))
        .with_panel(
            graph(
                "Split",
                "Share of requests drawn for ONNX, configured and observed.",
                "percentunit",
                [Query(promql.worst(FRACTION), "configured"), Query(promql.onnx_share(), "observed")],
            ).max(1)
        )
        .with_panel(
            graph(
                "Throughput",
                "Requests per second by the backend that was drawn.",
                "reqps",
                [Query(promql.rate(REQUESTS, "assigned"), "{{assigned}}")],
            )
        )
        .with_panel(
            graph(
                "Failed or rescued",
                "Share of each backend's requests that failed, ran out of time or were answered by the other backend.",
                "percentunit",
                [Query(promql.failure_ratio(), "{{assigned}}")],
            )
        )
    )


def _latency(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Latency, from arrival in the router to the answer"))
    for quantile in (0.5, 0.95, 0.99):
        board = board.with_panel(
            graph(
                f"p{quantile * 100:.0f}",
                "Latency by the backend that was drawn, within one bucket (25 %), without forced and shadow requests.",
                "s",
                [Query(promql.latency(quantile), "{{assigned}}")],
            )
        )
    for quantile in (0.5, 0.95):
        board = board.with_panel(
            band(
                f"ONNX / Torch, p{quantile * 100:.0f}",
                f"Ratio of the latency quantiles; below 1 ONNX is faster. {BAND_HELP}",
                "none",
                _ratio(quantile, promql.RATE_INTERVAL),
            )
        )
    return board


def _stages(board: dashboard.Dashboard) -> dashboard.Dashboard:
    board = board.with_row(dashboard.Row("Where the time goes"))
    for backend in promql.BACKENDS:
        board = board.with_panel(
            bars(
                f"Stages of {backend}",
                "Mean seconds in each stage, from bucket centres and so within 13 %. Queue is all waiting on the way.",
                "s",
                [Query(promql.mean_stage(backend), "{{stage}}")],
            )
        )
    return board


def _answers(board: dashboard.Dashboard) -> dashboard.Dashboard:
    deviation = "ray_detect_shadow_{}_deviation_bucket"
    return (
        board.with_row(dashboard.Row("Answers"))
        .with_panel(
            graph(
                "Agreement",
                "Share of shadow comparisons in which both backends found the same, and of Torch compared with itself.",
                "percentunit",
                [
                    Query(promql.agreement(), "ONNX with Torch"),
                    Query(promql.agreement("noise_"), "Torch with itself"),
                ],
            ).max(1)
        )
        .with_panel(
            graph(
                "Deviation, p95",
                "Largest difference of scores, and largest shift of a box edge relative to the box, in one image.",
                "percentunit",
                [
                    Query(f"histogram_quantile(0.95, {promql.rate(deviation.format(kind), 'le')})", kind)
                    for kind in ("score", "box")
                ],
            )
        )
        .with_panel(
            graph(
                "Fallbacks by reason",
                "Requests per second that went to the other backend, by the backend that failed and the reason.",
                "reqps",
                [Query(promql.rate("ray_detect_fallbacks_total", "assigned, reason"), "{{assigned}}: {{reason}}")],
            )
        )
    )


def _ratio(quantile: float, window: str) -> list[Query]:
    return [
        Query(promql.latency_ratio_limit(quantile, "lower", window), "lower"),
        Query(promql.latency_ratio(quantile, window), "value"),
        Query(promql.latency_ratio_limit(quantile, "upper", window), "upper"),
    ]
