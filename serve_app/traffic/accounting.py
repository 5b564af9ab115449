"""What the end of a request counts as: its outcome, its series and its log line.

Called by `traffic.dispatch`, once per request.
"""

import logging
from typing import Literal

from serve_app.backends.ray_internals import THIN_LOG_RECORD
from serve_app.errors import DeadlineExceeded, Overloaded, RefusedImage, ServingError
from serve_app.observability.metrics import RouterMetrics
from serve_app.schemas import Answer, Backend, Call

logger = logging.getLogger("ray.serve")

Outcome = Literal["ok", "rescued", "invalid", "overloaded", "failed", "deadline", "hurried", "cancelled"]


def outcome_of(error: ServingError, call: Call, fair_s: float) -> Outcome:
    """The outcome of a request that ends with an error. A client that allowed less than `fair_s` was in a hurry."""
    match error:
        case RefusedImage():
            return "invalid"
        case Overloaded():
            return "overloaded"
        case DeadlineExceeded():
            return "deadline" if call.deadline - call.arrived >= fair_s else "hurried"
        case _:
            return "failed"


def record(
    metrics: RouterMetrics, call: Call, assigned: Backend, outcome: Outcome, answer: Answer | None, seconds: float
) -> None:
    """Count one finished request that took `seconds`. A forced request is never counted."""
    if call.forced is not None:
        return
    backend = answer.backend if answer else assigned
    metrics.request(assigned, backend, outcome)
    if answer is not None:
        metrics.answered(assigned, seconds)
        metrics.stages(backend, answer.result.stages)


def log(call: Call, assigned: Backend, outcome: Outcome, answer: Answer | None, seconds: float) -> None:
    """Write one line for a finished request that took `seconds`."""
    stages = answer.result.stages if answer else {}
    line = {
        "request_id": call.request_id,
        "assigned": assigned,
        "backend": answer.backend if answer else assigned,
        "outcome": outcome,
        "forced": call.forced is not None,
        "milliseconds": round(seconds * 1e3, 3),
        "stages": {stage: round(value * 1e3, 3) for stage, value in stages.items()},
    }
    logger.info("detect", extra=line | THIN_LOG_RECORD)
