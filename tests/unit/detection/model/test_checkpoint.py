"""Checkpoints as files: found, described, fingerprinted, or refused with the reason."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from serve_app.detection.model.checkpoint import fingerprint, read_spec, resolve
from serve_app.errors import ConfigurationError

CONFIG = {
    "model_type": "yolos", "id2label": {"0": "hat", "1": "shoe"}, "patch_size": 16, "image_size": [256, 384],
    "num_detection_tokens": 20,
}  # fmt: skip
PROCESSOR = {"size": {"shortest_edge": 224, "longest_edge": 384}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write(folder, CONFIG, PROCESSOR)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def write(folder: Path, config: dict[str, Any], processor: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def test_the_spec_holds_what_the_files_say(folder: Path) -> None:
    spec = read_spec(folder)
    assert spec.labels == ["hat", "shoe"]
    assert (spec.resize.shortest_edge, spec.resize.longest_edge) == (224, 384)
    assert (spec.position_grid, spec.detection_tokens, spec.mean) == ((16, 24), 20, (0.5, 0.5, 0.5))


def test_the_size_of_old_processors_is_understood(folder: Path) -> None:
    write(folder, CONFIG, {"size": 512, "max_size": 864})
    spec = read_spec(folder)
    assert (spec.resize.shortest_edge, spec.resize.longest_edge) == (512, 864)
    assert spec.mean == (0.485, 0.456, 0.406)


def test_a_missing_longest_edge_is_that_of_transformers(folder: Path) -> None:
    write(folder, CONFIG, {"size": {"shortest_edge": 512}})
    assert read_spec(folder).resize.longest_edge == YolosImageProcessorPil().size["longest_edge"]


@pytest.mark.parametrize(
    ("config", "processor", "named"),
    [
        ({"model_type": "detr"}, {}, "model_type is 'detr'"),
        ({}, {"do_normalize": False}, "do_normalize is false"),
        ({}, {"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ({"id2label": {}}, {}, "labels"),
        ({"id2label": {"5": "x"}}, {}, "cannot read its configuration"),
        ({}, {"size": {"max_height": 3}}, "max_height"),
        ({"image_size": 512}, {}, "cannot read its configuration"),
        ({"image_size": [1, 2, 3]}, {}, "cannot read its configuration"),
    ],
)
def test_what_is_not_served_is_refused(folder: Path, config: Any, processor: Any, named: str) -> None:
    write(folder, CONFIG | config, PROCESSOR | processor)
    with pytest.raises(ConfigurationError) as caught:
        read_spec(folder)
    assert named in caught.value.detail


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_file_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
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
