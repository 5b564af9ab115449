"""Deploying to a node and waiting until it has happened. Called by the commands of this package and by the tests."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from serve_app.errors import ConfigurationError
from serve_app.local.node import Node, require_remembered
from serve_app.local.polling import Clock, attempts

_POLL_S = 0.1
_SETTLED_S = 3.0  # what Serve tells the router of each replica is up to two seconds old
_BUSY_S, _BUSY_PAUSE_S = 60.0, 1.0


class _Busy(ConfigurationError):
    """The dashboard is there and could not carry out the request: its own time limits are short on a busy machine."""


def dashboard_request(node: Node, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call Serve's REST API. Raises ConfigurationError when it refuses or does not answer."""
    try:
        response = httpx.request(
            method, node.serve_api, headers=node.credentials, json=body, timeout=60, trust_env=False, verify=False
        )
    except httpx.RemoteProtocolError as error:
        raise _Busy(f"the Ray dashboard at {node.dashboard_url} broke off: {error}") from None
    except httpx.HTTPError as error:
        raise ConfigurationError(f"the Ray dashboard at {node.dashboard_url} does not answer: {error}") from None
    if response.is_error:
        kind = _Busy if response.is_server_error else ConfigurationError
        raise kind(f"Serve refused the request ({response.status_code}): {response.text[-2000:]}")
    content: dict[str, Any] = response.json() if response.content and method == "GET" else {}
    return content


def deploy(node: Node, config: Mapping[str, Any], clock: Clock = time) -> None:
    """Hand a checked config to Serve. Returns once Serve has accepted it; the deploy itself goes on.

    A dashboard that answers with a 5xx is asked again for `_BUSY_S`: the same config twice is the same deploy.
    """
    for _ in attempts(_BUSY_S, _BUSY_PAUSE_S, clock):
        try:
            dashboard_request(node, "PUT", config)
            return
        except _Busy as error:
            busy = error
    raise busy


def readiness(node: Node) -> dict[str, Any] | None:
    """The body of `/readyz`, or None while nothing answers there."""
    try:
        response = httpx.get(f"{node.http_url}/readyz", timeout=5, trust_env=False, verify=False)
        content = response.json()
    except (httpx.HTTPError, ValueError):
        return None
    return content if isinstance(content, dict) and "backends" in content else None


def require_answering(folder: Path) -> Node:
    """The node that was started with `folder`. Raises ConfigurationError if there is none, or its service is silent."""
    running = require_remembered(folder)
    if readiness(running) is None:
        raise ConfigurationError(f"the service does not answer at {running.http_url}; start it anew: make stop serve")
    return running


def failure(node: Node) -> str | None:
    """Why Serve gave up on an application, or None if it has not, or is too busy to tell."""
    try:
        applications = dashboard_request(node, "GET").get("applications", {})
    except _Busy:
        return None
    failed = [app for app in applications.values() if app["status"] == "DEPLOY_FAILED"]
    return failed[0]["message"] if failed else None


def refusals(state: Mapping[str, Any]) -> list[str]:
    """One line for each backend of a `/readyz` body that refused its latest configuration, with the remedy."""
    told = {name: backend.get("configuration_error") for name, backend in state["backends"].items()}
    return [f"{name} keeps its last good model: {error}" for name, error in told.items() if error]


def wait_until(
    node: Node,
    done: Callable[[dict[str, Any]], bool],
    timeout_s: float,
    clock: Clock = time,
    backends_take_it: bool = False,
) -> dict[str, Any]:
    """Poll `/readyz` until `done` accepts its body, which is returned.

    Raises ConfigurationError if the deploy fails, or after `timeout_s` seconds; with `backends_take_it` also once a
    backend has clearly refused its configuration.
    """
    state, refused_since = None, None
    for _ in attempts(timeout_s, _POLL_S, clock):
        state = readiness(node)
        refused = refusals(state) if state is not None and backends_take_it else []
        if state is not None and done(state) and not refused:
            return state
        if state is None and (message := failure(node)):
            raise ConfigurationError(f"the deploy failed: {message}")
        refused_since = (refused_since or clock.monotonic()) if refused else None
        if refused_since is not None and clock.monotonic() - refused_since > _SETTLED_S:
            raise ConfigurationError("; ".join(refused))
    raise ConfigurationError(f"not ready within {timeout_s:g} s; the last state was {state}")
