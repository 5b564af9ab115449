"""Tensors of a checkpoint: whatever transformers loads in full is accepted, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import YolosForObjectDetection

from serve_app.detection.model import architecture, weights
from serve_app.errors import ConfigurationError

Tensors = dict[str, Tensor]
HEAD = "class_labels_classifier.layers.2"
NORM = "vit.layernorm.weight"
MID = "vit.encoder.mid_position_embeddings"


def require_whole(folder: Path) -> None:
    weights.require_whole(folder, architecture.read(folder / "config.json"))


def changed(tiny: Path, target: Path, change: Callable[[Tensors], Tensors]) -> Path:
    shutil.copytree(tiny, target)
    save_file(change(load_file(tiny / "model.safetensors")), target / "model.safetensors", metadata={"format": "pt"})
    return target


def in_shards(folder: Path, tensors: Tensors) -> None:
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    placed = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / "model.safetensors").unlink()


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new, 1): tensor for name, tensor in tensors.items()}


def also(name: str, tensor: Tensor) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: tensor}


def loads_in_full(folder: Path) -> bool:
    loaded: Any = YolosForObjectDetection.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
    )
    report = loaded[1]
    return not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors,
        lambda tensors: {name: tensor.half() for name, tensor in tensors.items()},
        lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()},
        renamed("encoder.mid_position", "encoder.interpolation.mid_position"),
        renamed("vit.", ""),
        lambda tensors: {f"vit.{name.removeprefix('vit.')}": tensor for name, tensor in tensors.items()},
    ],
    ids=["as saved", "fp16", "bf16", "new name", "without prefix", "prefix everywhere"],
)
def test_what_transformers_loads_in_full_is_whole(
    change: Callable[[Tensors], Tensors], tiny: Path, tmp_path: Path
) -> None:
    folder = changed(tiny, tmp_path / "changed", change)
    assert loads_in_full(folder)
    require_whole(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without(NORM), f"tensors missing: 1 ({NORM}); save the whole model again"),
        (without(MID), "tensors missing: 1 (vit.encoder.interpolation.mid_position_embeddings)"),
        (lambda tensors: {n: t for n, t in tensors.items() if n.startswith("vit.")},
         f"tensors missing: 12 ({HEAD[:-1]}0.weight, {HEAD[:-1]}0.bias, {HEAD[:-1]}1.weight, ...)"),
        (renamed("layernorm_before.weight", "layernorm_before.gamma"),
         "tensors missing: 3 (vit.encoder.layer.0.layernorm_before.weight, "),
        (renamed("layernorm_before.weight", "layernorm_before.gamma"),
         "; tensors unexpected: 3 (vit.encoder.layer.0.layernorm_before.gamma, "),
        (renamed("vit.", "model.vit."), "tensors missing: 56 ("),
        (also("vit.pooler.dense.weight", torch.ones(2)), "tensors unexpected: 1 (vit.pooler.dense.weight); save"),
        (also("vit.encoder.layer.3.output.dense.bias", torch.ones(2)), "(vit.encoder.layer.3.output.dense.bias)"),
        (also(NORM, torch.ones(31)), f"tensors of a wrong shape: 1 ({NORM}: 31 instead of 32); save"),
        (also("vit.embeddings.cls_token", torch.ones(1, 32)), "vit.embeddings.cls_token: 1x32 instead of 1x1x32"),
        (also(f"{HEAD}.bias", torch.ones(6)), f"({HEAD}.bias: 6 instead of 5)"),
    ],
)  # fmt: skip
def test_what_transformers_would_fill_or_leave_out_is_named(
    change: Callable[[Tensors], Tensors], told: str, tiny: Path, tmp_path: Path
) -> None:
    folder = changed(tiny, tmp_path / "changed", change)
    assert not loads_in_full(folder)
    assert told in refusal(folder)


def test_a_tensor_under_both_its_names_is_ambiguous(tiny: Path, tmp_path: Path) -> None:
    folder = changed(tiny, tmp_path / "changed", also(NORM.removeprefix("vit."), torch.ones(32)))
    assert f"tensors unexpected: 1 ({NORM}, under two names); save" in refusal(folder)


def test_a_buffer_of_positions_changes_no_answer(tiny: Path, tmp_path: Path) -> None:
    require_whole(changed(tiny, tmp_path / "changed", also("vit.embeddings.position_ids", torch.arange(9))))


@pytest.mark.parametrize(("labels", "fits"), [({"num_labels": 10}, 10), ({"id2label": {"0": "hat"}}, 1), ({}, 2)])
def test_labels_that_do_not_fit_the_head_are_the_reason(
    labels: dict[str, object], fits: int, tiny: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "changed"))
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config | labels))
    assert refusal(folder).endswith(
        f"config.json names {fits} label{'s' * (fits > 1)}, but the head has 5 outputs, for 4 labels and 'no object'; "
        "put id2label (or num_labels) right"
    )


def test_shards_are_read_together(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "changed"))
    in_shards(folder, load_file(folder / "model.safetensors"))
    assert loads_in_full(folder)
    require_whole(folder)
    in_shards_file = folder / "model.safetensors.index.json"
    index = json.loads(in_shards_file.read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], "model-00002-of-00002.safetensors")
    in_shards_file.write_text(json.dumps(index))
    assert "tensors missing: 20 (" in refusal(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "no model-00002-of-00002.safetensors, which model.safetensors.index.json names" in refusal(folder)
    in_shards_file.unlink()
    assert "neither model.safetensors nor model.safetensors.index.json" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 50_000])
def test_a_file_that_breaks_off_is_named_with_the_remedy(kept: int, tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "changed"))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} cannot be read (" in refusal(folder)
    assert refusal(folder).endswith("); fetch its weights again")


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        require_whole(folder)
    assert "\n" not in caught.value.detail
    return caught.value.detail
