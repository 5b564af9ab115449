"""The tensors in a checkpoint's safetensors files, against those that its configuration demands.

Called by `checkpoint`, and by the PyTorch engine for what transformers reports. Reads names and shapes only, without
PyTorch. A difference is an error because transformers would fill what is missing with random numbers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from serve_app.detection.model import json_file
from serve_app.detection.model.architecture import CLASS_HEAD, Architecture, Shape
from serve_app.errors import ConfigurationError, one_line

_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHOWN = 3  # names in one error


class Differences(NamedTuple):
    """Names of tensors that are missing, that the model does not have, and that have another shape than its own."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]


class _Index(BaseModel):
    """Which file holds which tensor, in a checkpoint of several files."""

    weight_map: dict[str, str] = {}


def require_whole(folder: Path, architecture: Architecture) -> None:
    """Raise ConfigurationError unless `folder` holds each tensor of the model, in its shape, and no others."""
    demanded = architecture.tensors()
    found: dict[str, Shape] = {}
    repeated = []
    for name, shape in _stored(folder):
        known = _name_in_model(name, demanded)
        if known in found:
            repeated.append(f"{known}, under two names")
        found[known] = shape
    _require_labels(folder, architecture, found.get(f"{CLASS_HEAD}.weight", ()))
    differences = Differences(
        missing=[name for name in demanded if name not in found],
        unexpected=[name for name in found if name not in demanded] + repeated,
        misshaped=[
            misshaped(name, found[name], shape) for name, shape in demanded.items() if found.get(name, shape) != shape
        ],
    )
    refuse(folder, differences)


def refuse(folder: Path, differences: Differences) -> None:
    """Raise ConfigurationError, with the first names and how many there are, if anything differs."""
    # A buffer of integers that older transformers saved with some models; no answer depends on it.
    unexpected = [name for name in differences.unexpected if name.rpartition(".")[2] != "position_ids"]
    kinds = {"missing": differences.missing, "unexpected": unexpected, "of a wrong shape": differences.misshaped}
    told = [
        f"tensors {kind}: {len(names)} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if told:
        raise ConfigurationError(
            f"checkpoint {folder}: the weights do not fit config.json; {'; '.join(told)}; save the whole model again "
            "with save_pretrained()"
        )


def misshaped(name: str, found: Shape, demanded: Shape) -> str:
    """What an error says of a tensor with another shape than the model's."""
    return f"{name}: {'x'.join(map(str, found))} instead of {'x'.join(map(str, demanded))}"


def _require_labels(folder: Path, architecture: Architecture, head: Shape) -> None:
    labels = len(architecture.labels)
    if len(head) == 2 and head[0] != labels + 1:
        raise ConfigurationError(
            f"checkpoint {folder}: config.json names {labels} label{'s' * (labels > 1)}, but the head has {head[0]} "
            f"outputs, for {head[0] - 1} labels and 'no object'; put id2label (or num_labels) right"
        )


def _name_in_model(name: str, demanded: dict[str, Shape]) -> str:
    """The model's name of a stored tensor, after the renamings that transformers does for YOLOS while it loads."""
    name = name.replace("encoder.mid_position_embeddings", "encoder.interpolation.mid_position_embeddings")
    for known in (name.removeprefix("vit."), f"vit.{name}"):
        if known in demanded:
            return known
    return name


def _stored(folder: Path) -> Iterator[tuple[str, Shape]]:
    for path in _files(folder):
        try:
            with safe_open(path, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - no mapping
                    yield name, tuple(tensors.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(f"{path} cannot be read ({one_line(error)}); fetch its weights again") from error


def _files(folder: Path) -> list[Path]:
    """The files that transformers reads; all of them lie in `folder`, where the fingerprint sees them."""
    if (folder / _FILE).is_file():
        return [folder / _FILE]
    if not (folder / _INDEX).is_file():
        raise ConfigurationError(f"checkpoint {folder}: neither {_FILE} nor {_INDEX}; save_pretrained() writes it")
    named = sorted(set(json_file.parse(_Index, folder / _INDEX).weight_map.values()))
    present = {path.name for path in folder.glob("*.safetensors")}
    for name in named:
        if name not in present:
            raise ConfigurationError(f"checkpoint {folder}: no {name}, which {_INDEX} names; fetch it")
    return [folder / name for name in named]
