"""The libraries of the `training` extra, imported in one place so that a missing one is one clear message.

Training and evaluation import them from here; the service needs none of them.
"""

import sys

try:
    import cv2
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ModuleNotFoundError as error:
    sys.stderr.write(f"error: {error.name} is not installed; run: {sys.executable} -m pip install -e '.[training]'\n")
    raise SystemExit(2) from None

__all__ = ["COCO", "COCOeval", "cv2"]
