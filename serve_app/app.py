"""The application that `serve_config.yaml` names as `serve_app.app:app`: it binds the Router to both backends."""

from typing import Any

from pydantic import BaseModel
from ray import serve
from ray.serve import Application

from serve_app.backends import ray_internals
from serve_app.deployments import OnnxDeployment, TorchDeployment
from serve_app.router import Router
from serve_app.settings import AppSettings, OnnxSettings, TorchSettings, TrafficPolicy

# On shared cores the router has the higher priority: a refusal must not wait behind running inferences.
_BACKEND_NICENESS = 5


def app(args: AppSettings) -> Application:
    """Bind the Router to both backends. `args` are the application's `args`; the rest comes from the deployments."""
    routing = ray_internals.routing_options()
    torch = _deployment(TorchDeployment, TorchSettings(), **routing).bind(args.limits, _BACKEND_NICENESS)
    onnx = _deployment(OnnxDeployment, OnnxSettings(), **routing).bind(args.limits, _BACKEND_NICENESS)
    application: Application = _deployment(serve.ingress()(Router), TrafficPolicy()).bind(args.limits, torch, onnx)
    return application


def _deployment(plain_class: type, defaults: BaseModel, **options: Any) -> Any:
    # With a user_config in code, removing it from the YAML goes back to the defaults instead of keeping the old one.
    deployment: Any = serve.deployment(plain_class)
    return deployment.options(user_config=defaults.model_dump(), **options)
