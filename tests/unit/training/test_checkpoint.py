"""The checkpoint in the repo: it loads, it is small, it finds the garments of the sample images."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from training.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    new_config,
    new_model,
    processor,
    save_checkpoint,
    token_places,
)
from training.errors import BadInputError
from training.labels import LABELS

MOST_BYTES = 16_000_000


def test_the_stored_weights_are_small_and_no_pickle() -> None:
    assert (CHECKPOINT / "model.safetensors").stat().st_size <= MOST_BYTES
    with safe_open(CHECKPOINT / "model.safetensors", "pt") as weights:
        assert all(torch.isfinite(weights.get_tensor(name)).all() for name in weights.keys())  # noqa: SIM118
    assert not list(CHECKPOINT.glob("*.bin"))


def test_the_stored_processor_keeps_the_aspect_ratio_and_pads_nothing() -> None:
    stored = json.loads((CHECKPOINT / "preprocessor_config.json").read_text())
    assert stored["size"] == {"shortest_edge": 224, "longest_edge": 384}
    assert stored["do_pad"] is False


@pytest.mark.parametrize("shape", [(224, 288), (384, 224), (224, 224)])
def test_positions_are_interpolated_to_any_shape(shape: tuple[int, int]) -> None:
    model, _ = load_checkpoint(CHECKPOINT)
    with torch.inference_mode():
        outputs = model(torch.zeros(2, 3, *shape))
    assert outputs.logits.shape == (2, model.config.num_detection_tokens, len(LABELS) + 1)
    assert outputs.pred_boxes.shape == (2, model.config.num_detection_tokens, 4)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    model = new_model(new_config())
    save_checkpoint(model, tmp_path)
    loaded, loaded_processor = load_checkpoint(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded_processor.to_dict() == processor().to_dict()
    assert not loaded.training


def test_a_missing_or_broken_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"config\.json is missing"):
        load_checkpoint(tmp_path)
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((CHECKPOINT / name).read_bytes()[:300])
    with pytest.raises(BadInputError, match="cannot be loaded") as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_every_token_owns_a_place_and_one_owns_the_middle() -> None:
    places = token_places()
    assert places.shape == (new_config().num_detection_tokens, 2)
    assert len(torch.unique(places, dim=0)) == len(places)
    assert (places == 0.5).all(dim=1).sum() == 1
