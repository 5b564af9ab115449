"""A Hugging Face YOLOS checkpoint as files: its folder, its configuration, its fingerprint.

Called by both backends when they load, and by the export. Needs neither torch nor Ray.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.detection.spec import ModelSpec, ResizeRule
from serve_app.errors import ConfigurationError

_CONFIG = "config.json"
_PROCESSOR = "preprocessor_config.json"
_DOWNLOADED = (_CONFIG, _PROCESSOR, "*.safetensors", "*.safetensors.index.json")
_DEFAULT_LONGEST_EDGE = 1333  # transformers' YolosImageProcessor takes it where a checkpoint names none


def resolve(checkpoint: str, revision: str | None = None) -> Path:
    """The absolute folder of a checkpoint: a local folder, or for a hub id (owner/name) the hub's cache.

    Raises ConfigurationError when there is neither, or when a file is missing in it.
    """
    folder = Path(checkpoint).absolute()
    if not folder.is_dir():
        folder = _download(checkpoint, revision)
    for name in (_CONFIG, _PROCESSOR):
        if not (folder / name).is_file():
            raise ConfigurationError(f"checkpoint {checkpoint}: no {name} in {folder}; save_pretrained() writes it")
    if not list(folder.glob("*.safetensors")):
        raise ConfigurationError(
            f"checkpoint {checkpoint}: no .safetensors file in {folder}; pickled weights are never loaded, convert "
            "them with save_pretrained()"
        )
    return folder


def _download(checkpoint: str, revision: str | None) -> Path:
    looks_like_path = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") != 1
    if looks_like_path:
        raise ConfigurationError(
            f"checkpoint {checkpoint}: no such folder ({Path(checkpoint).absolute()}); name one that exists, or a hub "
            "id (owner/name)"
        )
    from huggingface_hub import snapshot_download  # only a hub id needs it

    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=list(_DOWNLOADED)))
    except Exception as error:  # the hub's client raises many unrelated types
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        at = f" at revision {revision}" if revision else ""
        raise ConfigurationError(
            f"checkpoint {checkpoint}{at}: there is no folder {Path(checkpoint).absolute()}, and the hub does not "
            f"provide it ({first_line}); check the name and the network"
        ) from error


def fingerprint(folder: Path) -> str:
    """SHA-256 over weights, configuration and preprocessing: checkpoints with equal fingerprints answer alike."""
    digest = hashlib.sha256()
    for path in [folder / _CONFIG, folder / _PROCESSOR, *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def read_spec(folder: Path) -> ModelSpec:
    """Read labels, resize rule, normalisation and token counts.

    Raises ConfigurationError for another architecture, damaged JSON, or preprocessing that the service does not do.
    """
    config, processor = _read_json(folder / _CONFIG), _read_json(folder / _PROCESSOR)
    if config.get("model_type") != "yolos":
        raise ConfigurationError(f"{folder / _CONFIG}: model_type is {config.get('model_type')!r}, expected 'yolos'")
    _refuse_unusual(folder / _PROCESSOR, processor)
    labels = config.get("id2label") or {}
    patch = config.get("patch_size", 16)
    try:
        rows, columns = config.get("image_size", (512, 864))
        return ModelSpec(
            labels=[labels[str(index)] for index in range(len(labels))],
            resize=_resize_rule(processor),
            resample=processor.get("resample", 2),
            mean=processor.get("image_mean", (0.485, 0.456, 0.406)),
            std=processor.get("image_std", (0.229, 0.224, 0.225)),
            patch_size=patch,
            position_grid=(rows // patch, columns // patch),
            detection_tokens=config.get("num_detection_tokens", 100),
        )
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"checkpoint {folder}: cannot read its configuration: {error}") from error


def _refuse_unusual(path: Path, processor: dict[str, Any]) -> None:
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if processor.get(key) is False:
            raise ConfigurationError(f"{path}: {key} is false, but the service always resizes and normalises")
    factor = processor.get("rescale_factor", 1 / 255)
    if abs(factor * 255 - 1) > 1e-6:
        raise ConfigurationError(f"{path}: rescale_factor is {factor}, expected 1/255")


def _resize_rule(processor: dict[str, Any]) -> ResizeRule:
    size = processor.get("size", {"shortest_edge": 800})
    if isinstance(size, int):  # processors saved before transformers 4.26 hold two numbers
        return ResizeRule(shortest_edge=size, longest_edge=processor.get("max_size", _DEFAULT_LONGEST_EDGE))
    rule = ResizeRule.model_validate(size)
    if rule.shortest_edge and not rule.longest_edge:
        return rule.model_copy(update={"longest_edge": _DEFAULT_LONGEST_EDGE})
    return rule


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected a JSON object")
    return content
