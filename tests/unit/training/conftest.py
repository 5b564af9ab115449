"""Inputs that the training tests share: a folder of drawn photos and one of real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.scenes import render_scene

FOLDERS = {"t-shirt": 0, "pants": 1, "hat": 7}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models gain nothing from threads and lose much where other processes want the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five drawn garments of three kinds, laid out like the data set."""
    root = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(["t-shirt", "t-shirt", "pants", "pants", "hat"]):
        scene = render_scene(40 + seed, 180, 240, [FOLDERS[name]])
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(scene.pixels).save(root / name / f"{seed}.jpg", quality=95)
    return root


@pytest.fixture
def real_photos() -> Path:
    """Ten photographs of the data set, one of each kind of garment."""
    return Path(__file__).parents[2] / "photos"


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(5)
