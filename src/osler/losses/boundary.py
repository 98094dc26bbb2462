"""A loss that weighs a wrong pixel by how far it lies from the true boundary."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from osler.losses.pixels import MaskPart, Pixels

__all__ = ["Boundary", "distance_weights"]


class Boundary(MaskPart):
    """The boundary loss of Kervadec et al. 2019 (equation 5), made non-negative and free of the image's size.

    The paper's integral of φ · p, where φ is the signed distance to the true boundary (negative inside), differs from the one
    here, |φ| · |p − t|, by a constant of the mask: the gradients are the same, and a perfect prediction costs 0. |φ| is divided
    by its mean over the known pixels, so that p = 0.5 costs 0.5 whatever the size. Where a class fills an image or is not in
    it, the boundary is infinitely far and every pixel weighs 1.

    It tells a false alarm far away from one at the edge, which no overlap does, and is a poor loss by itself: use it as a part
    beside dice. It has no floor: what a constant costs depends on the shapes of the masks. The distances are computed on the
    CPU, for each mask as it was augmented.
    """

    def forward(self, pixels: Pixels) -> Tensor:
        known = pixels.known[:, 0].bool().cpu().numpy()
        truth = pixels.truth.bool().cpu().numpy()
        weights = np.stack(
            [[distance_weights(plane, seen) for plane in planes] for planes, seen in zip(truth, known, strict=True)]
        )
        far = torch.from_numpy(weights).to(pixels.p)
        return pixels.mean(far * (pixels.p - pixels.truth).abs())


def distance_weights(truth: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel's centre to the boundary of a class, with mean 1 over the known pixels.

    Args:
        truth: (H, W) foreground.
        known: (H, W) pixels whose label is known; from the others no distance is taken.

    Returns:
        (H, W) weights; 1 everywhere where the class fills the known pixels or is not among them.

    >>> (5 * distance_weights(np.array([[True, False, False]]), np.ones((1, 3), bool))).round(3).tolist()
    [[3.0, 3.0, 9.0]]
    """
    free = known & ~truth
    if not truth.any() or not free.any():
        return np.ones(truth.shape, np.float32)
    # OpenCV's exact transform is twice as fast, and differs in the last bits from call to call.
    to_class, to_rest = (distance_transform_edt(~there) for there in (truth, free))
    # The boundary runs between two pixels, half a pixel from each centre.
    distances = np.where(truth, to_rest, to_class) - 0.5
    return np.asarray(distances / distances[known].mean(), dtype=np.float32)
