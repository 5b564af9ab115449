"""Checkpoints as files: found, described, fingerprinted, or refused with the reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoImageProcessor

from serve_app.detection.model.checkpoint import fingerprint, read_spec, resolve
from serve_app.detection.spec import ModelSpec
from serve_app.errors import ConfigurationError
from tests.checkpoints import LABELS, TOKENS

PROCESSOR = {"size": {"shortest_edge": 224, "longest_edge": 384}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny, tmp_path / "checkpoint"))
    write(folder, PROCESSOR)
    return folder


def write(folder: Path, processor: dict[str, Any]) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def test_the_spec_holds_what_the_files_say(folder: Path) -> None:
    spec = read_spec(folder)
    assert spec.labels == LABELS
    assert (spec.resize.shortest_edge, spec.resize.longest_edge, spec.pad) == (224, 384, None)
    assert (spec.position_grid, spec.detection_tokens, spec.mean) == ((4, 6), TOKENS, (0.5, 0.5, 0.5))


def test_a_spec_means_what_it_meant_before_it_knew_of_padding(folder: Path) -> None:
    old = {
        "labels": LABELS, "resize": {"shortest_edge": 224, "longest_edge": 384, "height": None, "width": None},
        "resample": 2, "mean": [0.5] * 3, "std": [0.25] * 3, "patch_size": 16, "position_grid": [4, 6],
        "detection_tokens": TOKENS,
    }  # fmt: skip
    assert ModelSpec.model_validate_json(json.dumps(old)) == read_spec(folder)


def test_what_is_not_served_is_refused(folder: Path) -> None:
    write(folder, PROCESSOR | {"do_resize": False})
    with pytest.raises(ConfigurationError, match=f"{folder}/preprocessor_config.json: do_resize is false"):
        read_spec(folder)
    write(folder, PROCESSOR)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "detr"}))
    with pytest.raises(ConfigurationError, match=f"{folder}/config.json: model_type is 'detr'"):
        read_spec(folder)


def test_weights_that_are_not_whole_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(ConfigurationError, match=rf"checkpoint {folder}: .* unexpected: 16 \(vit\.encoder\.layer\.2\."):
        read_spec(folder)


def test_the_processor_that_transformers_would_prefer_is_not_ignored(folder: Path) -> None:
    second = folder / "processor_config.json"
    second.write_text(json.dumps({"processor_class": "YolosProcessor"}))
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").size["longest_edge"] == 384  # type: ignore[no-untyped-call]
    read_spec(folder)
    second.write_text(json.dumps({"image_processor": {"size": {"shortest_edge": 64, "longest_edge": 96}}}))
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").size["longest_edge"] == 96  # type: ignore[no-untyped-call]
    with pytest.raises(ConfigurationError, match=r"prefers to preprocessor_config\.json; move its settings there"):
        read_spec(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match="safetensors" if "model" in name else name):
        resolve(str(folder))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/no/where", "a/b/c"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no such folder") as caught:
        resolve(name)
    assert str(Path(name).absolute()) in caught.value.detail


def test_a_relative_folder_is_resolved_against_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert resolve("checkpoint") == folder
    (folder / "config.json").unlink()
    with pytest.raises(ConfigurationError, match=f"no config.json in {folder}"):
        resolve("checkpoint")


def test_a_hub_id_that_cannot_be_had_is_named_with_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"nobody/nothing at revision v1: there is no folder /.*/nothing, and"):
        resolve("nobody/nothing", "v1")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_every_file_counts_for_the_fingerprint(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert fingerprint(copy) == before
    with (copy / name).open("ab") as file:
        file.write(b" ")
    assert fingerprint(copy) != before
