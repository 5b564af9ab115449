"""Tiny YOLOS checkpoints with random weights, and artifacts of them. Used by the tests of export, engines and bench."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import YolosConfig, YolosForObjectDetection

from export.quantize import quantize
from export.write import build
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Manifest, Parity, Precision
from serve_app.detection.spec import ModelSpec, ResizeRule

LABELS = ["shirt", "pants", "shoe", "dress"]
TOKENS = 12
SPEC = ModelSpec(
    labels=LABELS, resize=ResizeRule(shortest_edge=96, longest_edge=160), mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225), patch_size=16, position_grid=(4, 6), detection_tokens=TOKENS,
)  # fmt: skip
PARITY = Parity(
    images=12, detections=36, threshold=0.5, score_deviation=1e-6, box_deviation=1e-6, logit_deviation=1e-6,
    tolerance=0.05,
)  # fmt: skip


def make(folder: Path, mid: bool, seed: int = 0, **changes: Any) -> Path:
    """Write a checkpoint whose answers vary with the image, the grid and the position embeddings.

    `changes` are to its YolosConfig.
    """
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [64, 96],
        "num_detection_tokens": TOKENS,
        "use_mid_position_embeddings": mid,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {name: index for index, name in enumerate(LABELS)},
    }
    model = YolosForObjectDetection(YolosConfig(**config | changes))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "position" in name or "token" in name:
                weights.normal_(std=0.5)
            elif weights.ndim > 1:
                weights.normal_(std=1.5 * weights[0].numel() ** -0.5)
    model.save_pretrained(folder)
    size = {"shortest_edge": SPEC.resize.shortest_edge, "longest_edge": SPEC.resize.longest_edge}
    write_preprocessor(folder, {"size": size})
    return folder


def write_preprocessor(folder: Path, content: dict[str, Any]) -> None:
    """Write the preprocessor_config.json of the checkpoint in `folder`."""
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def without_tensor(checkpoint: Path, target: Path, name: str) -> Path:
    """A copy of a checkpoint that lacks one tensor."""
    shutil.copytree(checkpoint, target)
    tensors = load_file(target / "model.safetensors")
    del tensors[name]
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def export(checkpoint: Path, target: Path) -> Path:
    """An fp32 artifact, marked as if it had passed the gate."""
    target.mkdir()
    manifest = build(target, checkpoint, str(checkpoint), "fp32", say=lambda _: None)
    save(target, manifest.model_copy(update={"parity": PARITY}))
    return target


def as_precision(source: Path, target: Path, precision: Precision) -> Path:
    """An fp32 artifact in another precision: the same embeddings, and weights quantised for int8."""
    shutil.copytree(source, target)
    if precision == "int8":
        quantize(source / artifact.MODEL, target / artifact.MODEL)
    manifest = artifact.load_manifest(source, "")
    files = {name: artifact.file_hash(target / name) for name in manifest.files}
    save(target, manifest.model_copy(update={"precision": precision, "files": files}))
    return target


def save(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into `folder`."""
    (folder / artifact.MANIFEST).write_text(manifest.model_dump_json())
