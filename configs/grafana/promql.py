"""The expressions of the dashboards: how one of our series becomes a rate, a quantile, or a ratio with its limits.

Called by the dashboards of this folder. Every selector carries the variables `job` and `instance`. Both ways of
scraping see every request; `sum by (job, ...)` inside `max by (...)` counts it once.
"""

from typing import Literal

Backend = Literal["torch", "onnx"]
BACKENDS: tuple[Backend, Backend] = ("onnx", "torch")
RATE_INTERVAL = "$__rate_interval"
WHOLE_RANGE = "$__range"
_Z = 1.96  # 95 %


def select(series: str, where: str = "") -> str:
    """The series as the user's variables choose them."""
    matchers = ",".join(filter(None, ['job=~"$job"', 'instance=~"$instance"', where]))
    return f"{series}{{{matchers}}}"


def rate(series: str, by: str = "", where: str = "", window: str = RATE_INTERVAL) -> str:
    """Events per second over all replicas. With another window than the graph's own, the number of events in it."""
    function = "rate" if window == RATE_INTERVAL else "increase"
    inner = f"sum by ({', '.join(filter(None, ['job', by]))}) ({function}({select(series, where)}[{window}]))"
    return f"max by ({by}) ({inner})" if by else f"max({inner})"


def worst(series: str, by: str = "", operator: str = "max") -> str:
    """A gauge, the highest (or lowest) over all replicas."""
    return f"{operator} by ({by}) ({select(series)})" if by else f"{operator}({select(series)})"


def latency(quantile: float) -> str:
    """A latency quantile by backend."""
    return f"histogram_quantile({quantile}, {rate('ray_detect_latency_seconds_bucket', 'assigned, le')})"


def mean_stage(backend: Backend) -> str:
    """Mean seconds of each stage of one backend. Means add up to the whole; quantiles do not."""
    where = f'backend="{backend}"'
    seconds, events = (rate(f"ray_detect_stage_seconds_{part}", "stage", where) for part in ("sum", "count"))
    return f"{seconds} / {events}"


def share(series: str, part: str, whole: str = "", by: str = "", window: str = RATE_INTERVAL) -> str:
    """The part of a counter's events among the whole, both given as matchers."""
    return f"{rate(series, by, part, window)} / {rate(series, by, whole, window)}"


def failure_ratio(window: str = RATE_INTERVAL) -> str:
    """Share of a backend's requests that failed or were rescued, without those that the client is to blame for."""
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
    """The 95 % limit of that ratio: each backend's own limits from order statistics, combined on a log scale."""
    sign = "-" if side == "lower" else ""
    onnx, torch = (_spread(backend, quantile, (side == "upper") == (backend == "onnx"), window) for backend in BACKENDS)
    return f"{latency_ratio(quantile, window)} * exp({sign}sqrt({onnx} + {torch}))"


def _spread(backend: Backend, quantile: float, above: bool, window: str) -> str:
    # The quantile is divided by the limit: an infinite limit then gives an infinite spread instead of NaN.
    return f"ln({_quantile(backend, quantile, window)} / {_limit(backend, quantile, above, window)}) ^ 2"


def _quantile(backend: Backend, rank: float | str, window: str) -> str:
    buckets = rate("ray_detect_latency_seconds_bucket", "le", f'assigned="{backend}"', window)
    return f"histogram_quantile({rank}, {buckets})"


def _limit(backend: Backend, quantile: float, above: bool, window: str) -> str:
    # `increase` and not `rate`, because the formula needs the number of observations in the window.
    where = f'assigned="{backend}"'
    seen = f"max(sum by (job) (increase({select('ray_detect_latency_seconds_count', where)}[{window}])))"
    step = f"{_Z} * sqrt({quantile * (1 - quantile):.6g} / {seen})"
    return _quantile(backend, f"scalar({quantile} {'+' if above else '-'} {step})", window)
