"""The PyTorch engine refuses a device that this machine does not have."""

from pathlib import Path

import pytest
import torch

from serve_app.detection.engines.torch import TorchDetector
from serve_app.errors import ConfigurationError
from serve_app.settings import TorchSettings


def test_a_missing_gpu_is_named_with_the_remedy(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"device cuda:1: .* set device: cpu"):
        TorchDetector(tiny, TorchSettings(device="cuda:1"))
