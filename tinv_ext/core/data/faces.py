"""Faces in an image, by the detector that OpenCV brings along (Viola & Jones 2001), where OpenCV is installed."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DETECTOR = "haarcascade_frontalface_default"
_LONGEST = 800  # pixels of the longer side of what is searched
_SMALLEST = 0.06  # of the shorter side

_ONE_AT_A_TIME = threading.Lock()  # OpenCV's classifier keeps the image it looks at

Box = tuple[float, float, float, float]


@cache
def _classifier() -> Any:
    """OpenCV's classifier; None where OpenCV, or its data, is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    file = Path(folder, f"{DETECTOR}.xml")
    if not folder or not file.is_file() or not hasattr(cv2, "CascadeClassifier"):
        return None
    classifier = cv2.CascadeClassifier(str(file))
    return None if classifier.empty() else classifier


def have_detector() -> bool:
    """Whether faces can be found here."""
    return _classifier() is not None


def faces_in(rgb: Image.Image) -> list[Box]:
    """(left, top, right, bottom) of each face, as shares of the width and height; none where nothing can find them."""
    classifier = _classifier()
    if classifier is None:
        return []
    times = min(1.0, _LONGEST / max(rgb.size))
    size = (max(1, round(rgb.width * times)), max(1, round(rgb.height * times)))
    gray = np.asarray(rgb.convert("L").resize(size, Image.Resampling.BOX))
    least = max(20, int(min(size) * _SMALLEST))
    with _ONE_AT_A_TIME:
        found = classifier.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=6, minSize=(least, least))
    return [(x / size[0], y / size[1], (x + w) / size[0], (y + h) / size[1]) for x, y, w, h in found]
