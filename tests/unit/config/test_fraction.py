"""Changing one number of a config file, and nothing else."""

import errno
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


def test_a_small_share_stays_a_number(config: Path) -> None:
    content = write_fraction(config, 0.00001)
    assert content["applications"][0]["deployments"][0]["user_config"]["onnx_fraction"] == 0.00001


def test_a_whole_share_is_written_as_one(config: Path) -> None:
    write_fraction(config, 1)
    assert "onnx_fraction: 1\n" in config.read_text()


def test_line_ends_and_rights_stay(config: Path) -> None:
    config.write_bytes(SHIPPED.replace("\n", "\r\n").encode())
    config.chmod(0o640)
    write_fraction(config, 0.5)
    changed = SHIPPED.replace("onnx_fraction: 0.0", "onnx_fraction: 0.5").replace("\n", "\r\n")
    assert config.read_bytes() == changed.encode()
    assert config.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(config: Path) -> None:
    link = config.with_name("link.yaml")
    link.symlink_to(config.name)
    write_fraction(link, 0.5)
    assert link.is_symlink()
    assert "onnx_fraction: 0.5" in config.read_text()


def test_a_file_of_the_user_beside_it_is_not_touched(config: Path) -> None:
    theirs = config.with_suffix(".new.yaml")
    theirs.write_text("mine")
    write_fraction(config, 0.5)
    with pytest.raises(ConfigurationError):
        write_fraction(config, 2)
    assert theirs.read_text() == "mine"
    assert sorted(path.name for path in config.parent.iterdir()) == sorted([config.name, theirs.name])


def test_a_file_that_cannot_be_replaced_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Path, target: Path) -> None:  # as for a file that is mounted into a container
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(ConfigurationError) as caught:
        write_fraction(config, 0.5)
    assert caught.value.detail == f"{config}: cannot be written: Device or resource busy"
    assert config.read_text() == SHIPPED
    assert list(config.parent.iterdir()) == [config]
