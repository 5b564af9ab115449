"""The shipped configuration on a Ray node of its own. Used by the benchmarks and the integration tests."""

import copy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serve_app.config.serve_file import load_config
from serve_app.local import deploy
from serve_app.local.modes import Mode
from serve_app.local.node import Node, running
from serve_app.local.ports import Ports, free_port
from serve_app.settings import DEFAULT_ARTIFACT, DEFAULT_CHECKPOINT

ROOT = Path(__file__).parents[1]
_READY_TIMEOUT_S = 180

Overrides = Mapping[str, Mapping[str, Any]]


def artifact_of_the_checkout() -> None:
    """Export the default checkpoint if that has not happened yet, as `make serve` does."""
    subprocess.run([sys.executable, "-m", "export", "--if-stale"], cwd=ROOT, check=True, timeout=300)


@contextmanager
def own_node(folder: Path, mode: Mode = Mode.simple, environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A Ray node on free ports for the length of a `with` block; `folder` keeps its files."""
    ports = Ports(http=free_port(), dashboard=free_port(), metrics=free_port())
    with running(folder, ports, mode, environment) as node:
        yield node


class Service:
    """The shipped configuration on a node, with changes; every call waits until they are in force."""

    import_path = "serve_app.app:app"

    def __init__(self, node: Node) -> None:
        self.node = node
        self.url = node.http_url
        self._shipped = load_config(ROOT / "serve_config.yaml")

    def config(self, overrides: Overrides) -> dict[str, Any]:
        """The shipped configuration with some `user_config` values, and options (key `options`), changed."""
        config = copy.deepcopy(self._shipped)
        config["http_options"]["port"] = self.node.ports.http
        config["applications"][0]["import_path"] = self.import_path
        for deployment in config["applications"][0]["deployments"]:
            changes = dict(overrides.get(deployment["name"], {}))
            deployment.update(changes.pop("options", {}))
            if "checkpoint" in deployment["user_config"]:
                deployment["user_config"]["checkpoint"] = str(ROOT / DEFAULT_CHECKPOINT)
            if "artifact" in deployment["user_config"]:
                deployment["user_config"]["artifact"] = str(ROOT / DEFAULT_ARTIFACT)
            deployment["user_config"].update(changes)
        return config

    def deploy(self, ready: bool = True, **overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy with `overrides` by deployment name; returns `/readyz` once it is in force."""
        config = self.config(overrides)
        policy, torch, onnx = (deployment["user_config"] for deployment in config["applications"][0]["deployments"])
        deploy.deploy(self.node, config)

        def done(state: dict[str, Any]) -> bool:
            backends = state["backends"]
            return (
                all(state["policy"][key] == value for key, value in policy.items() if key != "breaker")
                and all(
                    backends[name].get("reload") == own["reload"] for name, own in (("torch", torch), ("onnx", onnx))
                )
                and (not ready or all(backend["state"] == "ready" for backend in backends.values()))
            )

        # While Serve applies new limits, a backend has no replica for a moment. Only after that is `/readyz` of use.
        deploy.wait_until(self.node, lambda _: self.application()["status"] == "RUNNING", _READY_TIMEOUT_S)
        return deploy.wait_until(self.node, done, _READY_TIMEOUT_S, backends_take_it=ready)

    def readyz(self) -> dict[str, Any]:
        """The state the router reports."""
        state = deploy.readiness(self.node)
        if state is None:
            raise RuntimeError("nobody answers /readyz")
        return state

    def application(self) -> dict[str, Any]:
        """What Serve itself says of the application."""
        application: dict[str, Any] = deploy.dashboard_request(self.node, "GET")["applications"]["detect"]
        return application

    def pids(self) -> dict[str, list[int]]:
        """Process ids of the running replicas, by deployment, from Serve itself."""
        return {
            name: sorted(replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING")
            for name, deployment in self.application()["deployments"].items()
        }
