"""A model with the parts of the embedded one and a fraction of its work, for tests that really train."""

from transformers import YolosConfig

from training.checkpoint import new_config


def small_config() -> YolosConfig:
    """Two thin layers instead of six; labels, detection tokens and the grid of positions are the embedded model's."""
    config = new_config()
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 2, 48, 96
    return config
