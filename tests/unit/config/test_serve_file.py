"""Checking a Serve config file: every key that Serve would silently ignore is named before a deploy."""

from pathlib import Path

import pytest

from serve_app.config.serve_file import incomparable, load_config
from serve_app.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "serve_config.yaml").read_text()


def problems(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    return caught.value.detail


def test_the_shipped_file_is_right() -> None:
    config = load_config(ROOT / "serve_config.yaml")
    assert config["applications"][0]["deployments"][0]["user_config"]["onnx_fraction"] == 0


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            "num_replicas: 1",
            "num_replica: 1",
            "deployments[Router].num_replica: unknown key, did you mean num_replicas?",
        ),
        ("onnx_fraction: 0.0", "onnx_fractoin: 0.0", "deployments[Router].user_config.onnx_fractoin: unknown key"),
        ("onnx_fraction: 0.0", "onnx_fraction: 3", "deployments[Router].user_config.onnx_fraction"),
        ("onnx_fraction: 0.0", "onnx_fraction: 0.0\n          onnx_fraction: 1.0", "'onnx_fraction' is given twice"),
        ("name: OnnxDeployment", "name: OnxDeployment", "deployments[OnxDeployment]: no such deployment"),
        ("name: OnnxDeployment", "name: OnxDeployment", "OnnxDeployment is not listed"),
        ("max_body_bytes: ", "max_body_byte: ", "args.limits.max_body_byte: unknown key"),
        ("threads: 2", "threads: many", "deployments[TorchDeployment].user_config.threads"),
        ("{num_cpus: 0.2}", "{num_cpu: 0.2}", "ray_actor_options.num_cpu: unknown key"),
        ("port: 8000", "prot: 8000", "http_options.prot: unknown key, did you mean port?"),
        ("num_replicas: 1", "num_replicas: -1", "num_replicas"),
        ("applications:", "application:", "application: unknown key"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, before: str, after: str, named: str) -> None:
    assert named in problems(tmp_path, SHIPPED.replace(before, after, 1 if "name" not in before else -1))


def test_a_missing_user_config_is_named(tmp_path: Path) -> None:
    cut = SHIPPED[: SHIPPED.rindex("        user_config:")]
    assert "deployments[OnnxDeployment].user_config: missing" in problems(tmp_path, cut)


def test_the_backends_of_the_shipped_file_can_be_compared() -> None:
    assert incomparable(load_config(ROOT / "serve_config.yaml")) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "checkpoint: demo/checkpoint",
            "checkpoint: other",
            "user_config.checkpoint is 'other' for TorchDeployment, 'demo/checkpoint' for OnnxDeployment: "
            "the backends answer from different weights",
        ),
        (
            "threads: 2",
            "threads: 4",
            "user_config.threads is 4 for TorchDeployment, 2 for OnnxDeployment: "
            "their latencies do not compare the engines",
        ),
        (
            "reload: 0",
            "inferences_at_once: 2",
            "user_config.inferences_at_once is 2 for TorchDeployment, 1 for OnnxDeployment: "
            "their latencies do not compare the engines",
        ),
    ],
)
def test_backends_that_cannot_be_compared_are_a_warning(tmp_path: Path, before: str, after: str, told: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED.replace(before, after, 1))
    assert incomparable(load_config(path)) == [told]


def test_threads_say_nothing_about_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED.replace("device: cpu", "device: cuda").replace("threads: 2", "threads: 1", 1))
    assert incomparable(load_config(path)) == []


def test_another_application_gives_no_warnings() -> None:
    assert incomparable({"applications": [{"name": "other", "import_path": "other:app"}]}) == []


@pytest.mark.parametrize(
    ("text", "named"), [("a: [", "not valid YAML"), ("x: 2020-13-45", "not valid YAML"), ("- 1", "expected a mapping")]
)
def test_a_file_that_is_not_a_config_is_refused(tmp_path: Path, text: str, named: str) -> None:
    assert named in problems(tmp_path, text)


def test_a_missing_file_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_config(Path("nowhere.yaml"))
    assert caught.value.detail == f"{tmp_path / 'nowhere.yaml'}: No such file or directory"
