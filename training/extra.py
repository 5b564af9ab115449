"""The libraries of the `training` extra, which a service does without. Training and evaluation take them from here."""

import sys

try:
    import cv2
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ModuleNotFoundError as error:
    sys.stderr.write(f"error: {error.name} is not installed; run: {sys.executable} -m pip install -e '.[training]'\n")
    raise SystemExit(2) from None

__all__ = ["COCO", "COCOeval", "cv2"]
