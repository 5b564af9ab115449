"""What Serve would ignore, coerce, or find only while it deploys."""

from typing import Any

import pytest

from tests.unit.config.shipped import Change, application, changed, options, problems, right, user_config

TORCH = "applications[detect].deployments[TorchDeployment]"
APP = "applications[detect]"


def top(**values: Any) -> Change:
    return lambda content: content.update(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            application(route_prefix="detect"),
            f"{APP}.route_prefix: must begin with a slash: write /detect, not 'detect'",
        ),
        (application(route_prefix="/detect/"), f"{APP}.route_prefix: must not end with a slash: write /detect, not"),
        (application(route_prefix="//"), f"{APP}.route_prefix: must not end with a slash: write /, not '//'"),
        (application(route_prefix="/{id}"), f"{APP}.route_prefix: may hold no braces, got '/{{id}}'"),
        (application(route_prefix=3), f"{APP}.route_prefix: Input should be a valid string, got 3; put it in quotes"),
        (application(import_path=None), f"{APP}.import_path: missing"),
        (application(import_path=3), f"{APP}.import_path: Input should be a valid string, got 3"),
        (application(args=5), f"{APP}.args: Input should be an object, got 5"),
        (application(host="0.0.0.0"), 'Host "0.0.0.0" is set in the config for application `detect`'),
        (
            application(runtime_env={"env_vars": {"A": 1, "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0"}}),
            f"{APP}.runtime_env.env_vars.A: Ray takes only text here, got 1; put it in quotes",
        ),
        (
            options("TorchDeployment", ray_actor_options={"runtime_env": {"env_vars": ["A"]}}),
            f"{TORCH}.ray_actor_options.runtime_env.env_vars: expected a mapping of names to texts, got ['A']",
        ),
        (
            options("TorchDeployment", ray_actor_options={"runtime_env": {"env_var": {}}}),
            f"{TORCH}.ray_actor_options.runtime_env.env_var: unknown key (known here: conda, config, container,",
        ),
        (options("TorchDeployment", num_replicas=True), f"{TORCH}.num_replicas: Input should be a valid integer or a"),
        (options("TorchDeployment", num_replicas=-1), f"{TORCH}.num_replicas: Input should be greater than 0"),
        (
            options("TorchDeployment", max_ongoing_requests=True),
            f"{TORCH}.max_ongoing_requests: Input should be a valid",
        ),
        (
            options("TorchDeployment", max_ongoing_requests="32"),
            f"{TORCH}.max_ongoing_requests: Input should be a valid integer, got '32'; write it without quotes",
        ),
        (
            options("TorchDeployment", ray_actor_options={"num_cpus": True}),
            f"{TORCH}.ray_actor_options.num_cpus: Input",
        ),
        (
            options("TorchDeployment", logging_config={"encodin": "JSON"}),
            f"{TORCH}.logging_config.encodin: unknown key",
        ),
        (
            options("TorchDeployment", request_router_config={"foo": 1}),
            f"{TORCH}.request_router_config.foo: unknown key",
        ),
        (
            options("TorchDeployment", deployment_actors=[{"name": "a", "actor_clas": "x:y"}]),
            f"{TORCH}.deployment_actors[a].actor_clas: unknown key, did you mean actor_class?",
        ),
        (
            options("TorchDeployment", gang_scheduling_config="two"),
            f"{TORCH}: Serve cannot read this: 'str' object has no attribute 'gang_size'",
        ),
        (options("TorchDeployment", user_config=5), f"{TORCH}.user_config: Input should be an object, got 5"),
        (
            top(http_options={"host": "http://x"}),
            "http_options.host: expected a name or an address, such as 127.0.0.1,",
        ),
        (top(http_options={"port": 70000}), "http_options.port: expected a port from 1 to 65535, got 70000"),
        (top(http_options={"port": 0}), "http_options.port: expected a port from 1 to 65535, got 0"),
        (top(http_options={"port": True}), "http_options.port: Input should be a valid integer, got True"),
        (
            top(http_options={"port": "8000"}),
            "http_options.port: Input should be a valid integer, got '8000'; write it",
        ),
        (top(http_options=None), "http_options: Input should be an object, got None"),
        (
            top(proxy_location="Everywhere"),
            "proxy_location: Input should be 'Disabled', 'HeadOnly' or 'EveryNode', got",
        ),
        (top(grpc_options={"prt": 1}), "grpc_options.prt: unknown key, did you mean port?"),
        (top(applications=3), "applications: Input should be a valid array, got 3"),
        (top(applications={"a": 1}), "applications: Input should be a valid array, got {'a': 1}"),
        (top(applications=[3]), "applications[0]: expected a mapping with the key import_path, got 3"),
    ],
)
def test_a_mistake_is_told_in_one_line(change: Change, told: str) -> None:
    assert any(problem.startswith(told) for problem in problems(changed(change)))


def test_a_mapping_where_a_list_belongs() -> None:
    found = problems(changed(application(deployments={"Router": {}})))
    assert any(problem.startswith(f"{APP}.deployments: ") for problem in found)
    assert not any("unknown key" in problem for problem in found)


def test_everything_is_told_in_one_run() -> None:
    text = changed(
        top(proxy_locatoin="HeadOnly", http_options={"host": "127.0.0.1", "port": 70000}),
        application(route_prefix="detect", deployments=["Router"]),
    )
    paths = [problem.partition(": ")[0] for problem in problems(text)]
    listed = f"{APP}.deployments"
    expected = ["proxy_locatoin", f"{listed}[0]", "http_options.port", f"{APP}.route_prefix", listed, listed, listed]
    assert sorted(paths) == sorted(expected)


def test_everything_is_told_in_one_run_also_where_serve_looks_only_at_values() -> None:
    text = changed(
        options("Router", max_ongoing_requests=True),
        options("OnnxDeployment", num_replica=2, num_replicas=-1),
        user_config("Router", onnx_fraction=True, max_inflight="12"),
    )
    assert len(problems(text)) == 5


@pytest.mark.parametrize(
    "change",
    [
        user_config("Router", onnx_fraction=1, deadline_s=30),
        top(
            proxy_location="HeadOnly",
            target_capacity=50,
            grpc_options={"port": 9000},
            tracing_config={"enabled": False},
        ),
        top(http_options={"host": "::1"}),
        application(route_prefix="/detect"),
        options("TorchDeployment", num_replicas=None, autoscaling_config={"min_replicas": 1, "max_replicas": 2}),
        options("TorchDeployment", ray_actor_options={"num_cpus": 1, "num_gpus": 0.5, "resources": {"special": 1}}),
        options("TorchDeployment", logging_config={"log_level": "DEBUG"}, placement_group_bundles=[{"CPU": 1}]),
    ],
)
def test_what_serve_takes_is_right(change: Change) -> None:
    assert right(changed(change))
