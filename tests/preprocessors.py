"""Contents of preprocessor_config.json, old and new, that the service honours. Used by the tests of both backends."""

from typing import Any

_OLD = {
    "feature_extractor_type": "YolosFeatureExtractor", "format": "coco_detection", "do_resize": True,
    "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip
_EDGES = {"shortest_edge": 224, "longest_edge": 384}
_SMALL = {"size": _EDGES}

HONOURED: dict[str, dict[str, Any]] = {
    "edges": {**_SMALL, "image_processor_type": "YolosImageProcessor"},
    "saved by a fast processor": {
        **_SMALL, "image_processor_type": "YolosImageProcessorFast", "crop_size": None, "data_format": "channels_first",
        "default_to_square": False, "device": None, "do_center_crop": None, "do_convert_rgb": None, "do_pad": True,
        "input_data_format": None, "pad_size": None, "return_tensors": None, "size_divisor": None,
    },
    "two numbers": {**_OLD, "size": 224, "max_size": 384},
    "one number": {**_OLD, "size": 224},
    "a number that max_size does not bound": {**_OLD, "size": _EDGES, "max_size": 300},
    "a list": {"size": [224, 320]},
    "fixed": {"size": {"height": 224, "width": 320}},
    "fixed, no whole patches": {"size": {"height": 250, "width": 330}},
    "at most": {"size": {"max_height": 256, "max_width": 300}},
    "at most, padded": {
        "size": {"max_height": 256, "max_width": 256}, "do_pad": True, "pad_size": {"height": 256, "width": 256},
    },
    "padded to no whole patches": {**_SMALL, "pad_size": {"height": 390, "width": 400}},
    "padded to a square": {**_SMALL, "pad_size": 384},
    "padded to a list": {**_SMALL, "pad_size": [384, 400]},
    "not padded": {**_SMALL, "do_pad": False, "pad_size": {"height": 384, "width": 384}},
    "padding is null": {**_SMALL, "do_pad": None, "pad_size": {"height": 384, "width": 384}},
    "padding by its old name": {**_SMALL, "pad_and_return_pixel_mask": False, "pad_size": 384},
    "padding by both names": {**_SMALL, "pad_and_return_pixel_mask": False, "do_pad": True, "pad_size": 384},
    "DETR": {**_SMALL, "image_processor_type": "DetrImageProcessor"},
    "DETR, no whole patches": {
        "image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 230, "longest_edge": 390},
    },
    "DETR, old": {**_OLD, "feature_extractor_type": "DetrFeatureExtractor", "size": 230, "max_size": 390},
    "not normalised": {**_SMALL, "do_normalize": False},
    "normalised is null": {**_SMALL, "do_normalize": None},
    "not rescaled": {**_SMALL, "do_rescale": False, "rescale_factor": None},
    "rescaled is null": {**_SMALL, "do_rescale": None},
    "rescaled to other numbers": {**_SMALL, "rescale_factor": 0.00784313725490196},
    "one mean": {**_SMALL, "image_mean": 0.5, "image_std": [0.5, 0.25, 1]},
    "mean of what is not normalised": {**_SMALL, "do_normalize": False, "image_mean": None, "image_std": [1]},
    "nearest": {**_SMALL, "resample": 0},
    "lanczos": {**_SMALL, "resample": 1},
    "bicubic": {**_SMALL, "resample": 3},
    "box": {**_SMALL, "resample": 4},
    "hamming": {**_SMALL, "resample": 5},
    "magic kernel": {**_SMALL, "resample": 6},
    "magic kernel, sharper": {**_SMALL, "resample": 7},
    "null is a size of 800": {"size": None, "max_size": 400},
    "what is not read": {**_SMALL, "size_divisor": 32, "crop_size": {"height": 9, "width": 9}, "unknown": True},
    "annotations": {**_SMALL, "format": "coco_panoptic", "do_convert_annotations": False},
}  # fmt: skip
