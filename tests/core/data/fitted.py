"""A picture as it is trained on, at a size of the test's."""

from __future__ import annotations

from tinv_ext.core.data.fitted_image import FittedImage, fit_image
from tinv_ext.core.data.image_fit import Fit
from tinv_ext.core.data.images import TrainingImage
from tinv_ext.core.data.images import load as load_image


def load(picture: TrainingImage, width: int, height: int, stretch: bool = False) -> FittedImage:
    """Read from its file and brought to a size."""
    return fit_image(load_image(picture), Fit(width, height, stretch), picture.digest)
