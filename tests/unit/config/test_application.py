"""Which application of a file is ours, and what it must have."""

import copy
from typing import Any

import pytest

from serve_app.config.serve_file import check_config, incomparable, not_checked
from tests.unit.config.shipped import PATH, Change, application, changed, options, problems, right, user_config

WRONG = user_config("Router", onnx_fraction=30)
OTHER = {"name": "other", "import_path": "other.module:app", "route_prefix": "/other"}


def and_also(*applications: dict[str, Any]) -> Change:
    return lambda content: content["applications"].extend(applications)


@pytest.mark.parametrize("path", ["serve_app.app:app", "serve_app.app.app"])
def test_both_spellings_of_the_path_are_this_service(path: str) -> None:
    assert right(changed(application(import_path=path)))
    (problem,) = problems(changed(application(import_path=path), WRONG))
    assert problem.startswith("applications[detect].deployments[Router].user_config.onnx_fraction: ")
    threads = check_config(changed(application(import_path=path), user_config("TorchDeployment", threads=1)), PATH)
    assert len(incomparable(threads)) == 1


@pytest.mark.parametrize(
    "path", ["other.module:app", "serve_app.app:application", "serve_app.apps.app", "serve_app:app"]
)
def test_a_file_without_this_service_is_not_ok(path: str) -> None:
    told = f"applications[detect].import_path: {path!r} is not this service, which is serve_app.app:app"
    assert problems(changed(application(import_path=path), WRONG)) == [told]


def test_applications_of_others_are_left_alone_and_named() -> None:
    content = check_config(changed(and_also(OTHER | {"args": {"anything": 1}, "deployments": [{"name": "X"}]})), PATH)
    assert not_checked(content) == [
        "applications[other] (other.module:app) is not this service: only Serve's keys are checked"
    ]
    assert not_checked(check_config(changed(), PATH)) == []


def test_a_path_into_our_package_beside_the_right_one_is_a_mistake() -> None:
    (problem,) = problems(changed(and_also(OTHER | {"import_path": "serve_app.router:Router"})))
    assert problem.startswith("applications[other].import_path: 'serve_app.router:Router' is not this service")


def test_no_application_at_all() -> None:
    (problem,) = problems("applications: []")
    assert problem.startswith("applications: empty")


def test_a_deployment_that_is_listed_twice_is_told_whatever_it_says() -> None:
    def twice(content: dict[str, Any]) -> None:
        listed = content["applications"][0]["deployments"]
        listed.append(copy.deepcopy(listed[0]))

    told = "applications[detect].deployments: Router is listed 2 times, and Serve would take the last; keep one"
    assert problems(changed(twice)) == [told]
    found = problems(changed(twice, WRONG))
    assert told in found
    assert any("user_config.onnx_fraction" in problem for problem in found)


def test_an_application_that_is_listed_twice_is_told() -> None:
    def twice(content: dict[str, Any]) -> None:
        content["applications"].append(copy.deepcopy(content["applications"][0]))

    told = "applications: detect is listed 2 times, and Serve would take the last; keep one"
    assert problems(changed(twice)) == [told]


def test_names_instead_of_mappings() -> None:
    first, *others = problems(changed(application(deployments=["Router"])))
    assert first == "applications[detect].deployments[0]: expected a mapping with the key name, got 'Router'"
    assert [one.split(" is not listed")[0].split(": ")[1] for one in others] == [
        "Router",
        "TorchDeployment",
        "OnnxDeployment",
    ]


def test_no_route_means_no_service() -> None:
    def without(content: dict[str, Any]) -> None:
        content["applications"][0]["route_prefix"] = None

    told = "applications[detect].route_prefix: null means that no client can reach the service; write /"
    assert problems(changed(without)) == [told]
    assert right(changed(and_also(OTHER | {"route_prefix": None})))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (options("OnnxDeployment", num_replicas=0), "num_replicas: 0 replicas answer nobody"),
        (
            options("OnnxDeployment", num_replicas=None, autoscaling_config={"min_replicas": 0}),
            "autoscaling_config.min_replicas: the router gives no requests",
        ),
        (
            options("OnnxDeployment", num_replicas="auto", autoscaling_config={"min_replicas": 1, "max_replica": 4}),
            "autoscaling_config.max_replica: unknown key, did you mean max_replicas?",
        ),
    ],
)
def test_a_deployment_without_replicas_is_told(change: Change, path: str) -> None:
    (problem,) = problems(changed(change))
    assert problem.startswith(f"applications[detect].deployments[OnnxDeployment].{path}")
