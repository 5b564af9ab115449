"""Changing one number of a config file, and nothing else."""

from pathlib import Path

import pytest

from serve_app.config.fraction import write_fraction
from serve_app.errors import ConfigurationError

SHIPPED = (Path(__file__).parents[3] / "serve_config.yaml").read_text()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED)
    return path


def test_only_the_number_changes(config: Path) -> None:
    content = write_fraction(config, 0.25)
    assert content["applications"][0]["deployments"][0]["user_config"]["onnx_fraction"] == 0.25
    assert config.read_text() == SHIPPED.replace("onnx_fraction: 0.0", "onnx_fraction: 0.25")
    assert list(config.parent.iterdir()) == [config]


def test_a_wrong_number_leaves_the_file_as_it_was(config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml.*onnx_fraction"):
        write_fraction(config, 1.5)
    assert config.read_text() == SHIPPED
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize(("before", "after", "count"), [("onnx_fraction", "fraction", 0), ("", SHIPPED, 2)])
def test_a_file_with_none_or_two_of_them_is_left_to_a_person(config: Path, before: str, after: str, count: int) -> None:
    text = SHIPPED.replace(before, after) if before else SHIPPED + after
    config.write_text(text)
    with pytest.raises(ConfigurationError, match=f"expected one onnx_fraction, found {count}; edit it by hand"):
        write_fraction(config, 0.5)
    assert config.read_text() == text


def test_a_file_that_is_not_text_is_named_in_full(config: Path) -> None:
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError) as caught:
        write_fraction(config, 0.5)
    assert caught.value.detail == f"{config}: not UTF-8 text"


def test_a_missing_file_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        write_fraction(Path("nope.yaml"), 0.5)
    assert caught.value.detail == f"{tmp_path / 'nope.yaml'}: No such file or directory"
