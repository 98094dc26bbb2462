"""Random numbers without a generator: hashes of what they are for.

Hashes are computed on the CPU; only the noise field, which is as large as the images, is hashed where the images are, from
keys that come from the CPU.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CHANGE", "DRAW", "NOISE", "ORDER", "PATCH", "hashes", "normal_fields", "uniforms"]

ORDER, DRAW, CHANGE, NOISE, PATCH = range(5)
"""What a hash is for; part of every key, so that no two purposes share a number."""

_GOLDEN = -7046029254386353131
"""SplitMix64's increment, 2^64 divided by the golden ratio, as int64."""

_Words = TypeVar("_Words", NDArray[np.int64], Tensor)


def _mix(words: _Words) -> _Words:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, variant 13) of int64 words; the masks make the shifts logical."""
    words = words ^ ((words >> 30) & ((1 << 34) - 1))
    words = words * -4658895280553007687
    words = words ^ ((words >> 27) & ((1 << 37) - 1))
    words = words * -7723592293110705685
    return words ^ ((words >> 31) & ((1 << 33) - 1))


def hashes(*parts: int | NDArray[np.integer]) -> NDArray[np.int64]:
    """One random 64-bit word for each combination of `parts`, which are broadcast against each other.

    Returns:
        int64 of the broadcast shape, at least one dimension; uniform over all 64-bit values.

    >>> bool((hashes(42, 3, np.arange(5)) == hashes(42, 3, np.arange(8))[:5]).all())
    True
    """
    state = np.array([len(parts)], dtype=np.int64)
    for part in parts:
        words = np.array([part & (2**64 - 1)], dtype=np.uint64) if isinstance(part, int) else np.atleast_1d(part)
        state = _mix(state + (words.astype(np.int64) + 1) * _GOLDEN)
    return state


def uniforms(*parts: int | NDArray[np.integer]) -> NDArray[np.float64]:
    """`hashes` as numbers in [0, 1), of 53 bits.

    >>> values = uniforms(0, np.arange(1000))
    >>> bool(0 <= values.min() and values.max() < 1 and 0.45 < values.mean() < 0.55)
    True
    """
    top = (hashes(*parts) >> 11) & ((1 << 53) - 1)
    return top.astype(np.float64) * 2.0**-53


@functools.cache
def _normal_table(device: torch.device) -> Tensor:
    """(65536,) standard normal quantiles at the middle of each 16-bit value; the largest is 4.32."""
    shares = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    table: Tensor = torch.special.ndtri(shares).float().to(device)
    return table


def normal_fields(keys: NDArray[np.int64], size: tuple[int, int], device: torch.device) -> Tensor:
    """(B, 1, H, W) standard normal values, four of each hashed word; a field depends on its key alone."""
    height, width = size
    pixels = height * width
    counter = torch.arange(-(-pixels // 4), device=device) * _GOLDEN
    words = _mix(torch.from_numpy(keys).to(device)[:, None] + counter)
    levels = words.view(torch.int16).int() + (1 << 15)
    values = _normal_table(device).index_select(0, levels.flatten()).view(len(keys), -1)
    return values[:, :pixels].view(-1, 1, height, width)
