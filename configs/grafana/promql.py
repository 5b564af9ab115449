"""The expressions of the dashboards: how a series of ours becomes a rate, a quantile, a ratio with its limits.

Called by the dashboards of this folder. Every selector carries the variables `job` and `instance`; `sum by (job, ...)`
inside `max by (...)` counts a request once although both ways of scraping see it.
"""

from typing import Literal

Arm = Literal["torch", "onnx"]
ARMS: tuple[Arm, Arm] = ("onnx", "torch")
RATE_INTERVAL = "$__rate_interval"
WHOLE_RANGE = "$__range"
_Z = 1.96  # 95 %


def select(series: str, where: str = "") -> str:
    """The series as the user's variables choose them."""
    matchers = ",".join(filter(None, ['job=~"$job"', 'instance=~"$instance"', where]))
    return f"{series}{{{matchers}}}"


def rate(series: str, by: str = "", where: str = "", window: str = RATE_INTERVAL) -> str:
    """Events per second over all replicas; over any other window than the graph's, their number."""
    function = "rate" if window == RATE_INTERVAL else "increase"
    inner = f"sum by ({', '.join(filter(None, ['job', by]))}) ({function}({select(series, where)}[{window}]))"
    return f"max by ({by}) ({inner})" if by else f"max({inner})"


def worst(series: str, by: str = "", operator: str = "max") -> str:
    """A gauge, the highest (or lowest) over all replicas."""
    return f"{operator} by ({by}) ({select(series)})" if by else f"{operator}({select(series)})"


def latency(quantile: float) -> str:
    """A latency quantile by arm."""
    return f"histogram_quantile({quantile}, {rate('ray_detect_latency_seconds_bucket', 'assigned, le')})"


def mean_stage(backend: Arm) -> str:
    """Mean seconds of each stage of one backend: means add up to the whole, quantiles do not."""
    where = f'backend="{backend}"'
    seconds, events = (rate(f"ray_detect_stage_seconds_{part}", "stage", where) for part in ("sum", "count"))
    return f"{seconds} / {events}"


def share(series: str, part: str, whole: str = "", by: str = "", window: str = RATE_INTERVAL) -> str:
    """The part of a counter's events among the whole, both given as matchers."""
    return f"{rate(series, by, part, window)} / {rate(series, by, whole, window)}"


def failure_ratio(window: str = RATE_INTERVAL) -> str:
    """Share of an arm's requests that failed or were rescued by the other; what nobody is to blame for left out."""
    blamed, counted = 'outcome=~"rescued|failed|deadline"', 'outcome!~"invalid|cancelled|hurried"'
    return share("ray_detect_requests_total", blamed, counted, "assigned", window)


def agreement(prefix: str = "", window: str = RATE_INTERVAL) -> str:
    """Share of shadow comparisons that agree; with the prefix `noise_`, of Torch with itself."""
    agreed, compared = f'result="{prefix}agree"', f'result=~"{prefix}agree|{prefix}disagree"'
    return share("ray_detect_shadow_total", agreed, compared, window=window)


def onnx_share(window: str = RATE_INTERVAL) -> str:
    """The share of requests that were drawn for ONNX."""
    return share("ray_detect_requests_total", 'assigned="onnx"', window=window)


def latency_ratio(quantile: float, window: str = RATE_INTERVAL) -> str:
    """ONNX / Torch at one quantile."""
    return f"{_quantile('onnx', quantile, window)} / {_quantile('torch', quantile, window)}"


def latency_ratio_limit(quantile: float, side: Literal["lower", "upper"], window: str = RATE_INTERVAL) -> str:
    """The 95 % limit of that ratio: each arm's own limits from order statistics, combined on a log scale."""
    sign = "-" if side == "lower" else ""
    onnx, torch = (_spread(arm, quantile, (side == "upper") == (arm == "onnx"), window) for arm in ARMS)
    return f"{latency_ratio(quantile, window)} * exp({sign}sqrt({onnx} + {torch}))"


def _spread(arm: Arm, quantile: float, above: bool, window: str) -> str:
    # This way round: a limit of minus infinity gives an infinite spread, and no NaN.
    return f"ln({_quantile(arm, quantile, window)} / {_limit(arm, quantile, above, window)}) ^ 2"


def _quantile(arm: Arm, rank: float | str, window: str) -> str:
    buckets = rate("ray_detect_latency_seconds_bucket", "le", f'assigned="{arm}"', window)
    return f"histogram_quantile({rank}, {buckets})"


def _limit(arm: Arm, quantile: float, above: bool, window: str) -> str:
    # Not `rate`: the number of observations in the window, whatever the window.
    where = f'assigned="{arm}"'
    seen = f"max(sum by (job) (increase({select('ray_detect_latency_seconds_count', where)}[{window}])))"
    step = f"{_Z} * sqrt({quantile * (1 - quantile):.6g} / {seen})"
    return _quantile(arm, f"scalar({quantile} {'+' if above else '-'} {step})", window)
