"""For each alert, samples under which it must fire and samples under which it must not, in promtool's notation.

A sample every 15 s for 20 minutes; both backends get 1 request/s unless a case says otherwise.
"""

from typing import NamedTuple

SAMPLES = 80
Series = dict[str, str]


class Case(NamedTuple):
    """`failing` and `passing` series of one alert, and how long the failure must last."""

    failing: Series
    passing: Series
    patience_minutes: int


def growing(series: str, by: float) -> Series:
    """A counter that grows by `by` between two samples."""
    return {series: f"0+{by:g}x{SAMPLES}"}


def steady(series: str, value: float) -> Series:
    """A gauge that stays."""
    return {series: f"{value:g}x{SAMPLES}"}


def requests(assigned: str, outcome: str, by: float) -> Series:
    """Requests of one backend that all end the same way."""
    backend = assigned if outcome != "rescued" else "torch" if assigned == "onnx" else "onnx"
    labels = f'job="detect",assigned="{assigned}",backend="{backend}",outcome="{outcome}"'
    return growing(f"ray_detect_requests_total{{{labels}}}", by)


def answers(assigned: str, seconds: float, by: float = 15) -> Series:
    """Latencies of one backend, all in the bucket that ends at `seconds`."""
    series = f'ray_detect_latency_seconds_%s{{job="detect",assigned="{assigned}"%s}}'
    made = growing(series % ("count", ""), by)
    for bound in ("0.1", "0.125", "0.2", "0.25", "+Inf"):
        made |= growing(series % ("bucket", f',le="{bound}"'), by if float(bound) >= seconds else 0)
    return made


def shadow(agree: float, disagree: float) -> Series:
    """Comparisons by result; those of Torch with itself never count against ONNX."""
    by_result = {"agree": agree, "disagree": disagree, "noise_disagree": 15}
    made: Series = {}
    for result, by in by_result.items():
        made |= growing(f'ray_detect_shadow_total{{job="detect",result="{result}"}}', by)
    return made


def gauge(name: str, value: float, labels: str = "") -> Series:
    """A gauge that both ways of scraping see."""
    return {
        series: values
        for job in ("detect", "ray")
        for series, values in steady(f'{name}{{job="{job}"{labels}}}', value).items()
    }


def runs(backend: str, fingerprint: str) -> Series:
    """What a backend says it runs."""
    return gauge("ray_detect_build_info", 1, f',backend="{backend}",fingerprint="{fingerprint}"')


ONNX = ',backend="onnx"'
FRACTION = "ray_detect_onnx_fraction"
HALF_AND_HALF = requests("torch", "ok", 15) | requests("onnx", "ok", 15)

CASES: dict[str, Case] = {
    "DetectCandidateSlower": Case(
        failing=answers("torch", 0.125) | answers("onnx", 0.25),
        passing=answers("torch", 0.125) | answers("onnx", 0.125),
        patience_minutes=10,
    ),
    "DetectErrorRatio": Case(
        failing=requests("onnx", "ok", 14)
        | requests("onnx", "rescued", 1)
        | requests("onnx", "hurried", 15)
        | requests("torch", "ok", 15),
        passing=HALF_AND_HALF
        | requests("onnx", "invalid", 5)
        | requests("torch", "cancelled", 5)
        | requests("onnx", "hurried", 5),
        patience_minutes=5,
    ),
    "DetectBackendDown": Case(
        failing=gauge("ray_detect_backend_up", 0, ONNX),
        passing=gauge("ray_detect_backend_up", 1, ONNX),
        patience_minutes=1,
    ),
    "DetectReplicaUnavailable": Case(
        failing=gauge("ray_detect_replicas_unavailable", 1, ONNX),
        passing=gauge("ray_detect_replicas_unavailable", 0, ONNX),
        patience_minutes=1,
    ),
    "DetectConfigurationRejected": Case(
        failing=gauge("ray_detect_configuration_rejected", 1, ONNX),
        passing=gauge("ray_detect_configuration_rejected", 0, ONNX),
        patience_minutes=1,
    ),
    "DetectBreakerOpen": Case(
        failing=gauge("ray_detect_breaker_open", 1, ONNX),
        passing=gauge("ray_detect_breaker_open", 0, ONNX),
        patience_minutes=1,
    ),
    "DetectSplitNotHonoured": Case(
        failing=HALF_AND_HALF | gauge(FRACTION, 0.3),
        passing=HALF_AND_HALF | gauge(FRACTION, 0.49),
        patience_minutes=5,
    ),
    "DetectDisagreement": Case(
        failing=shadow(agree=14, disagree=1),
        passing=shadow(agree=15, disagree=0),
        patience_minutes=5,
    ),
    "DetectDifferentWeights": Case(
        failing=runs("torch", "sha256:a") | runs("onnx", "sha256:b"),
        passing=runs("torch", "sha256:a") | runs("onnx", "sha256:a"),
        patience_minutes=5,
    ),
    "DetectPolicyRejected": Case(
        failing=gauge("ray_detect_policy_rejected", 1),
        passing=gauge("ray_detect_policy_rejected", 0),
        patience_minutes=1,
    ),
    "DetectOverload": Case(
        failing=HALF_AND_HALF | growing('ray_detect_overloaded_total{job="detect"}', 3),
        passing=HALF_AND_HALF | growing('ray_detect_overloaded_total{job="detect"}', 1),
        patience_minutes=5,
    ),
    "DetectNotObserved": Case(
        failing={},
        passing=gauge(FRACTION, 0.3),
        patience_minutes=2,
    ),
}

# What must not fire, though it looks like a failure: the alert and the series.
QUIET: dict[str, tuple[str, Series]] = {
    "slower, but on four requests a minute": (
        "DetectCandidateSlower",
        answers("torch", 0.125, by=0.05) | answers("onnx", 0.25, by=0.05),
    ),
    "one disagreement of few": ("DetectDisagreement", shadow(agree=0.5, disagree=0.25)),
    "a share that still shows the fraction of before": (
        "DetectSplitNotHonoured",
        HALF_AND_HALF | {f'{FRACTION}{{job="detect"}}': "0.3+0x10 0.4+0x10 0.3+0x10 0.2+0x10 0.3+0x10 0.4+0x30"},
    ),
}
