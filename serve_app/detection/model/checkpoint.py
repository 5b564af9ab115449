"""A Hugging Face YOLOS checkpoint as files: its folder, its spec, its fingerprint.

Called by both backends when they load, and by the export. Needs neither torch nor Ray.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, JsonValue

from serve_app.detection.model import architecture, json_file, preprocessor, weights
from serve_app.detection.spec import ModelSpec
from serve_app.errors import ConfigurationError

_CONFIG = "config.json"
_PROCESSOR = "preprocessor_config.json"
_SECOND_PROCESSOR = "processor_config.json"
_DOWNLOADED = (_CONFIG, _PROCESSOR, _SECOND_PROCESSOR, "*.safetensors", "*.safetensors.index.json")


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
    """Read labels, preprocessing and token counts, and make sure that the weights are whole and fit them.

    Raises ConfigurationError for another architecture, damaged JSON, preprocessing that the service does not do, and
    tensors that are missing, unexpected or of a wrong shape.
    """
    model = architecture.read(folder / _CONFIG)
    _refuse_second_processor(folder)
    prepared = preprocessor.read(folder / _PROCESSOR, model.patch_size)
    weights.require_whole(folder, model)
    return ModelSpec(
        labels=model.labels,
        **prepared._asdict(),
        patch_size=model.patch_size,
        position_grid=model.grid,
        detection_tokens=model.num_detection_tokens,
    )


def _refuse_second_processor(folder: Path) -> None:
    path = folder / _SECOND_PROCESSOR
    if path.is_file() and json_file.parse(_SecondProcessor, path).image_processor is not None:
        raise ConfigurationError(
            f"{path}: it has an image_processor, which transformers prefers to {_PROCESSOR}; move its settings there"
        )


class _SecondProcessor(BaseModel):
    image_processor: JsonValue = None
