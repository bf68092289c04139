"""Dropout masks of a step, drawn on the host so that a resumed run sees those of an uninterrupted
one."""

import mindspore as ms
import numpy as np
from mindspore import Tensor

from hamur.training.supervised import MASK_LEVELS


def draw_masks(dropouts, rows, seed, number, stream=0):
    """One (rows, width) uint8 tensor a dropout: 1 with probability 1 - rate, from (seed,
    number)."""
    if not dropouts:
        return ()
    rng = np.random.SFC64([seed, number, stream])
    masks = []
    for width, rate in dropouts:
        # Raw 64-bit draws cut in four: several times faster than bounded integers.
        levels = rng.random_raw(-(-rows * width // 4)).view(np.uint16)[: rows * width]
        keep = (levels >= round(rate * MASK_LEVELS)).view(np.uint8)
        masks.append(Tensor(keep.reshape(rows, width)))
    return ms.mutable(tuple(masks))  # else a tuple is a constant: one compilation a step
