"""The PyTorch engine refuses a device that this machine does not have, and weights that transformers would make up."""

from pathlib import Path

import pytest
import torch

from serve_app.detection.engines.torch import TorchDetector, load_model
from serve_app.errors import ConfigurationError
from serve_app.settings import TorchSettings
from tests import checkpoints


def test_a_missing_gpu_is_named_with_the_remedy(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"device cuda:1: .* set device: cpu"):
        TorchDetector(tiny, TorchSettings(device="cuda:1"))


def test_weights_that_transformers_would_make_up_are_named(tiny: Path, tmp_path: Path) -> None:
    folder = checkpoints.without_tensor(tiny, tmp_path / "lacking", "vit.layernorm.bias")
    with pytest.raises(ConfigurationError, match=r"tensors missing: 1 \(vit\.layernorm\.bias\)"):
        TorchDetector(folder, TorchSettings(threads=1))


def test_tensors_of_another_model_are_named(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "other", mid=True)
    other = checkpoints.make(tmp_path / "wider", mid=True, num_detection_tokens=checkpoints.TOKENS + 1)
    (folder / "config.json").write_bytes((other / "config.json").read_bytes())
    with pytest.raises(ConfigurationError, match=r"of a wrong shape: 3 \(vit.*: 1x12x32 instead of 1x13x32, "):
        load_model(folder, torch.float32)


def test_the_model_is_ready_for_inference(tiny: Path) -> None:
    model = load_model(tiny, torch.bfloat16)
    assert not model.training
    assert {weights.dtype for weights in model.parameters()} == {torch.bfloat16}


def test_a_configuration_that_transformers_cannot_build_is_told_as_such(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "checkpoint", mid=False)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"gelu"', '"nonesuch"'))
    with pytest.raises(ConfigurationError, match=r"cannot be loaded \(.*nonesuch.*\); put its config\.json right"):
        load_model(folder, torch.float32)
