"""The checkpoint folder: a new model's shape, saving and loading. Called by `train` and `evaluate`."""

import math
from pathlib import Path

import torch
from transformers import YolosConfig, YolosForObjectDetection
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from serve_app.errors import one_line
from training.errors import BadInputError
from training.labels import LABELS

CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"
SHORT_SIDE, LONG_SIDE = 224, 384
PATCH = 16
# Positions are learnt on this grid and interpolated to the picture's own, at the first layer and between the layers.
GRID = (12, 16)
ANCHORS = (5, 4)


def new_config() -> YolosConfig:
    """The shape of the embedded model: 3.2 million parameters, so its fp32 weights stay below 16 MB."""
    return YolosConfig(
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=[GRID[0] * PATCH, GRID[1] * PATCH],
        patch_size=PATCH,
        num_detection_tokens=ANCHORS[0] * ANCHORS[1],
        use_mid_position_embeddings=True,
        qkv_bias=True,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )


def new_model(config: YolosConfig) -> YolosForObjectDetection:
    """A model to train from scratch.

    Patch positions start as sines and cosines. Each detection token starts with the position of one of twenty places
    spread over the picture, so from the first step it is treated like the patches there.
    """
    model = YolosForObjectDetection(config)
    embeddings = model.vit.embeddings
    rows, columns = (torch.arange(sides, dtype=torch.float32) for sides in GRID)
    places = (
        (torch.arange(ANCHORS[0]) + 0.5) * GRID[0] / ANCHORS[0],
        (torch.arange(ANCHORS[1]) + 0.5) * GRID[1] / ANCHORS[1],
    )
    with torch.no_grad():
        torch.nn.init.normal_(embeddings.detection_tokens, std=0.05)
        patches = GRID[0] * GRID[1]
        embeddings.position_embeddings[0, 1 : 1 + patches] = _waves(rows, columns, config.hidden_size)
        embeddings.position_embeddings[0, 1 + patches :] = _waves(*places, config.hidden_size)
    return model


def token_places() -> torch.Tensor:
    """The place that each detection token is responsible for: (tokens, 2), x and y as shares of the picture.

    The rows are staggered so that one place is the middle of the picture, where single garments lie.
    """
    rows, columns = torch.meshgrid(torch.arange(ANCHORS[0]), torch.arange(ANCHORS[1]), indexing="ij")
    x = (columns + 0.5 + 0.5 * (rows % 2 == 0)) / ANCHORS[1]
    return torch.stack([x, (rows + 0.5) / ANCHORS[0]], dim=2).reshape(-1, 2)


def save_checkpoint(model: YolosForObjectDetection, folder: Path) -> None:
    """Write the three files that `from_pretrained` reads."""
    model.save_pretrained(folder, safe_serialization=True)
    processor().save_pretrained(folder)


def processor() -> YolosImageProcessorPil:
    """Scales to 224 pixels on the shorter side; nothing is padded, a batch holds images of one shape."""
    return YolosImageProcessorPil(
        size={"shortest_edge": SHORT_SIDE, "longest_edge": LONG_SIDE}, do_pad=False, resample=2
    )


def load_checkpoint(folder: Path) -> tuple[YolosForObjectDetection, YolosImageProcessorPil]:
    """Model and processor of the folder. Raises BadInputError where it is no complete checkpoint."""
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise BadInputError(
                f"{folder} is no checkpoint ({name} is missing): train one with python -m training.train"
            )
    try:
        model = YolosForObjectDetection.from_pretrained(folder)  # in evaluation mode
        return model, YolosImageProcessorPil.from_pretrained(folder)
    except Exception as error:  # the libraries raise many unrelated types for a damaged file
        raise BadInputError(
            f"{folder} cannot be loaded ({one_line(error)}): train anew with python -m training.train"
        ) from error


def _waves(rows: torch.Tensor, columns: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of row and column at falling frequencies (Vaswani et al. 2017)."""
    quarter = width // 4
    frequencies = torch.exp(-math.log(100.0) * torch.arange(quarter) / quarter)
    y, x = rows[:, None] * frequencies, columns[:, None] * frequencies
    down = torch.cat([y.sin(), y.cos()], dim=1)[:, None].expand(-1, len(x), -1)
    across = torch.cat([x.sin(), x.cos()], dim=1)[None].expand(len(y), -1, -1)
    return 0.2 * torch.cat([down, across], dim=2).reshape(len(y) * len(x), width)
