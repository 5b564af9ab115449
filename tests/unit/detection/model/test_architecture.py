"""config.json as transformers reads it: its defaults, its labels, and the tensors of its model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import YolosConfig, YolosForObjectDetection

from serve_app.detection.model.architecture import Architecture, read
from serve_app.errors import ConfigurationError

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
    "image_size": [64, 96], "num_detection_tokens": 5,
}  # fmt: skip


def write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "yolos", **config}))
    return path


def test_what_a_file_leaves_out_has_the_default_of_transformers(tmp_path: Path) -> None:
    theirs, ours = YolosConfig(), read(write(tmp_path, {}))
    for key in sorted(Architecture.model_fields.keys() - {"id2label", "quantization_config", "transformers_weights"}):
        assert getattr(ours, key) == getattr(theirs, key), key


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_labels": 1},
        {"num_labels": 7},
        {"id2label": None, "num_labels": 3},
        {"id2label": {"0": "hat", "1": "shoe", "2": "hat"}},
        {"id2label": {"2": "c", "0": "a", "1": "b"}},
        {"id2label": {"0": "hat"}, "num_labels": 1},
        {"id2label": {str(number): f"label {number}" for number in range(91)}, "label2id": {"wrong": 3}},
    ],
    ids=str,
)
def test_labels_are_those_of_transformers(config: dict[str, Any], tmp_path: Path) -> None:
    theirs = YolosConfig.from_pretrained(write(tmp_path, config).parent).id2label
    assert dict(enumerate(read(write(tmp_path, config)).labels)) == theirs


def test_labels_that_transformers_saves_are_read_back(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        YolosConfig(num_labels=count).save_pretrained(tmp_path)  # type: ignore[call-arg]
        assert read(tmp_path / "config.json").labels == [f"LABEL_{number}" for number in range(count)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_labels": 7},
        {"use_mid_position_embeddings": False},
        {"qkv_bias": False},
        {"patch_size": 8},
        {"num_hidden_layers": 1},
        {"image_size": [70, 100], "use_mid_position_embeddings": False},
    ],
    ids=str,
)
def test_tensors_are_those_of_transformers(change: dict[str, Any], tmp_path: Path) -> None:
    config = SMALL | change
    with torch.device("meta"):
        model = YolosForObjectDetection(YolosConfig(**config))
    theirs = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert read(write(tmp_path, config)).tensors() == theirs


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"model_type": "detr"}, "model_type is 'detr', expected 'yolos'"),
        ({"model_type": None}, "model_type is None"),
        ({"id2label": {}}, "id2label is empty"),
        ({"id2label": {"0": "a"}, "num_labels": 5}, "id2label: 1 labels, but num_labels is 5; leave num_labels out"),
        ({"num_labels": 0}, "num_labels is 0; input should be greater than 0"),
        ({"num_labels": None}, "num_labels is null"),
        ({"id2label": {"0": "a", "2": "c"}}, "id2label: 2 labels have no number 1; number them from 0 to 1"),
        ({"id2label": {"1": "a", "2": "b"}}, "id2label: 2 labels have no number 0"),
        ({"id2label": {"hat": "0"}}, "id2label: invalid literal for int() with base 10: 'hat'"),
        ({"id2label": {"0": 5}}, "id2label.0 is 5; input should be a valid string"),
        ({"id2label": ["a"]}, 'id2label is ["a"]'),
        ({"num_channels": 1}, "num_channels is 1; input should be 3"),
        ({"image_size": 512}, "image_size is 512"),
        ({"image_size": [1, 2, 3]}, "image_size is [1, 2, 3]"),
        ({"image_size": [8, 96]}, "image_size is [8, 96], no whole patches of 16 x 16"),
        ({"image_size": [70, 100]}, "image_size is [70, 100], no whole patches of 16 x 16"),
        ({"patch_size": [16, 16]}, "patch_size is [16, 16]"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"hidden_size": None}, "hidden_size is null"),
        ({"num_attention_heads": 7}, "hidden_size is 768, no multiple of num_attention_heads (7)"),
        ({"quantization_config": {"bits": 4}}, 'quantization_config is {"bits": 4}'),
        ({"transformers_weights": "other.safetensors"}, 'transformers_weights is "other.safetensors"'),
    ],
    ids=str,
)
def test_what_no_yolos_can_be_is_refused_by_name(config: dict[str, Any], named: str, tmp_path: Path) -> None:
    path = write(tmp_path, config)
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert caught.value.detail.startswith(f"{path}: {named}")
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff"])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"config\.json: (expected a JSON object|Invalid JSON)"):
        read(path)
