"""Whether the candidate runs the same weights as the incumbent. Pure; called by `traffic.dispatch`."""

from serve_app.settings import TrafficPolicy


def why_barred(policy: TrafficPolicy, torch: frozenset[str], onnx: frozenset[str]) -> str | None:
    """Why ONNX carries no traffic, with the remedy, or None; from the fingerprints of each backend's replicas.

    A backend of which no fingerprint is known bars nothing: it has not answered yet.
    """
    if policy.allow_different_weights or not torch or not onnx or len(torch | onnx) == 1:
        return None
    return (
        f"the weights differ: Torch has {_short(torch)} and ONNX {_short(onnx)}, so ONNX carries no traffic; export "
        "and deploy one checkpoint to both, or set Router.user_config.allow_different_weights"
    )


def _short(fingerprints: frozenset[str]) -> str:
    return ", ".join(sorted(fingerprint[:19] for fingerprint in fingerprints))
