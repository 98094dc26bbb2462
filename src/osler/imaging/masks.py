"""Masks: a file becomes labels, and labels become planes; a type of its own, never resampled as pixels.

What a file holds is read as it is meant by those who draw masks: gray values are labels; a palette's colours are its indices,
unless they are grays; one colour on black is one label. What the labels mean is said by `MaskMeaning`, and nothing is guessed:
a value without a meaning is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.imaging.raw import Pixels
from osler.imaging.read import probe_image, read_image
from osler.imaging.scaling import scale

__all__ = [
    "IGNORED",
    "MaskMeaning",
    "RawMask",
    "count_values",
    "describe_values",
    "read_mask",
    "resample_planes",
    "whole_numbers",
]

IGNORED = 255
"""In a plane: the pixel is unknown."""

COLOUR_VALUE = 255
"""The label of the one colour of a mask that is drawn in one colour on black."""
_MOST_LABELS = 64
_MOST_BESIDE_FULL = 12
_LOSSY_SPREAD = 24
"""Channels of a gray picture that was kept as a colour JPEG differ by less than this."""
_HALF = np.float32(0.5 - 1e-4)
"""Averaging areas in 32 bits is off by less than 1e-4 of a whole."""

Planes = NDArray[np.uint8]


@dataclass(frozen=True)
class RawMask:
    """What a mask file holds, upright, before its values have a meaning.

    Attributes:
        pixels: (H, W) labels as uint8 or uint16; float32 where the file has floating-point values.
        colours: label to the RGB colour that stands for it, where the file is a palette or a picture in one colour.
        lossy: the file is a JPEG, whose values are not exact.
    """

    pixels: Pixels
    colours: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    lossy: bool = False


@dataclass(frozen=True)
class MaskMeaning:
    """What the values of a mask mean.

    Attributes:
        values: for each of K classes its pixel values; None: one class, of every value but 0 and `ignore`.
        ignore: value of pixels that are unknown, or None.
        threshold: share of the type's range from which on a pixel is foreground of the one class; None: values are labels.
    """

    values: tuple[tuple[int, ...], ...] | None = None
    ignore: int | None = None
    threshold: float | None = None

    @property
    def classes(self) -> int:
        """K."""
        return 1 if self.values is None else len(self.values)

    def planes(self, mask: RawMask, name: str) -> Planes:
        """The mask as planes.

        Args:
            mask: as read.
            name: of the file, for messages.

        Returns:
            (K, H, W) of 0, 1 and `IGNORED`; an ignored pixel is ignored in every plane.

        Raises:
            DataError: values without a meaning; or floating-point values that are no labels, without a threshold.

        >>> mask = RawMask(np.array([[0, 1, 2, 9]], np.uint8))
        >>> MaskMeaning(((1,), (2,)), ignore=9).planes(mask, "a.png").tolist()
        [[[0, 1, 0, 255]], [[0, 0, 1, 255]]]
        """
        if self.threshold is not None:
            return self._above(mask.pixels)[None]
        labels = whole_numbers(mask.pixels)
        if labels is None:
            raise DataError(f"{name}: {describe_values(mask)}")
        used = count_values(labels)
        unknown = sorted(set(used) - {0, self.ignore} - {value for values in self._given(used) for value in values})
        if unknown:
            raise DataError(
                f"{name}: pixel values without a meaning: {_counted({value: used[value] for value in unknown})}. "
                "Name them in data.masks.values, or correct the mask."
            )
        highest = max(used)
        table = np.zeros((self.classes, highest + 1), np.uint8)
        for plane, values in zip(table, self._given(used), strict=True):
            plane[[value for value in values if value <= highest]] = 1
        if self.ignore is not None and self.ignore <= highest:
            table[:, self.ignore] = IGNORED
        planes: Planes = np.take(table, labels, axis=1)
        return planes

    def _given(self, used: Mapping[int, int]) -> tuple[tuple[int, ...], ...]:
        if self.values is not None:
            return self.values
        return (tuple(value for value in used if value not in (0, self.ignore)),)

    def _above(self, pixels: Pixels) -> Planes:
        assert self.threshold is not None
        high = _highest(pixels)
        plane = (pixels >= self.threshold * high).astype(np.uint8)
        if self.ignore is not None:
            plane[pixels == self.ignore] = IGNORED
        return plane


# --- from a file to labels --------------------------------------------------------------------------------------------------


def read_mask(path: str | PathLike[str]) -> RawMask:
    """Reads one mask file: any that `read_image` reads.

    Gray of 2 and 4 bits keeps its stored values; 1 bit is 0 and 255. A palette gives its indices, one of grays their values.

    Raises:
        DataError: as `read_image`; a colour picture with more than one colour besides black; a palette whose background cannot
            be told.
    """
    name = fspath(path)
    info = probe_image(path)
    pixels: NDArray[Any] = read_image(path).pixels
    lossy = info.format == "jpeg"
    if pixels.ndim == 3 and lossy and int(np.ptp(pixels, axis=2).max()) < _LOSSY_SPREAD:
        return RawMask(pixels[..., 1], lossy=True)
    if pixels.ndim == 3 and info.format == "png" and info.mode.startswith("palette"):
        return _of_palette(name)
    if pixels.ndim == 3:
        return _of_colours(pixels, name, lossy)
    if info.format == "png" and info.bits in (2, 4):
        pixels = pixels // (255 // (2**info.bits - 1))  # the reader has spread them over 0 to 255
    return RawMask(pixels, lossy=lossy)


def _of_palette(name: str) -> RawMask:
    """The indices of a palette PNG that was read without fault before."""
    from PIL import Image, ImageOps  # few sets have palettes, and OpenCV cannot give the indices

    with Image.open(name) as image:
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        indices = np.asarray(ImageOps.exif_transpose(image), np.uint8)
    used = np.unique(indices).tolist()
    colours = {index: _triple(palette[index]) for index in used}
    black = next((index for index in used if index and colours[index] == (0, 0, 0)), None)
    if black is not None:
        raise DataError(
            f"{name}: colour {black} of the palette is black, and label 0, the background, is {_triple(palette[0])}: which is "
            "background cannot be known. Save the mask as a gray image whose background is 0."
        )
    return RawMask(indices, colours)


def _of_colours(pixels: NDArray[Any], name: str, lossy: bool) -> RawMask:
    """A colour picture that is gray after all, or one colour on black."""
    if (pixels == pixels[..., :1]).all():
        return RawMask(np.ascontiguousarray(pixels[..., 0]), lossy=lossy)
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    if pixels.dtype == np.uint8 and (len(found) == 1 or (len(found) == 2 and not found[0].any())):
        labels = np.where(pixels.any(axis=2), np.uint8(COLOUR_VALUE), np.uint8(0))
        return RawMask(labels, {COLOUR_VALUE: _triple(found[-1])})
    most = [f"{_triple(found[at])} {100 * counts[at] / counts.sum():.1f} %" for at in np.argsort(-counts)[:4]]
    raise DataError(
        f"{name}: a colour picture of {len(found):,} colours ({', '.join(most)}{', ...' if len(found) > 4 else ''}), not a mask: "
        "which colours mean what cannot be known. Save masks as gray or palette PNG, one value a class; a photograph in "
        "the place of a mask means that data.masks.path or data.masks.suffix points at images."
    )


def _triple(colour: NDArray[Any]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue


# --- values -----------------------------------------------------------------------------------------------------------------


def whole_numbers(pixels: Pixels) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """Pixels as unsigned labels; None where floating-point values are no whole numbers from 0 to 65535.

    >>> whole_numbers(np.array([[0.0, 2.0]], np.float32)).dtype, whole_numbers(np.array([[0.5]], np.float32))
    (dtype('uint16'), None)
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        return pixels.astype(np.uint16, copy=False)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 65535 or (pixels != np.rint(pixels)).any():
        return None
    return pixels.astype(np.uint16)


def count_values(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> dict[int, int]:
    """Label to number of pixels, ascending.

    >>> count_values(np.array([[0, 7, 7]], np.uint8))
    {0: 1, 7: 2}
    """
    counts = np.bincount(labels.reshape(-1))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def holds_no_labels(mask: RawMask, found: Mapping[int, int]) -> bool:
    """Whether a mask's values are shares or blurred edges instead of labels.

    So they are where there are more than any labelling has, where a JPEG has several, or where a dozen fill in between
    0 and the type's highest value, which most foreground has.

    Args:
        mask: as read.
        found: its values, as `count_values` gives them.
    """
    foreground = sum(pixels for value, pixels in found.items() if value)
    blurred = len(found) > _MOST_BESIDE_FULL and found.get(int(_highest(mask.pixels)), 0) > foreground / 2
    return len(found) > _MOST_LABELS or (mask.lossy and len(found) > 2) or blurred


def describe_values(mask: RawMask) -> str:
    """What a mask's values look like where they are no labels, and what to do about it.

    >>> describe_values(RawMask(np.array([[0.0, 0.25]], np.float32)))[:47]
    'floating-point values from 0 to 0.25, no labels'
    """
    pixels = mask.pixels
    if pixels.dtype.kind == "f":
        low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
        said = f"floating-point values from {low:g} to {high:g}, no labels"
        if low >= 0 and high <= 1:
            return f"{said}: probabilities. Set data.masks.threshold, such as 0.5: from there on a pixel is foreground"
        return f"{said}. Save masks as whole numbers"
    used = np.unique(pixels)
    top = _highest(pixels)
    near = float(((pixels < 0.07 * top) | (pixels > 0.93 * top)).mean())
    if near > 0.9:
        cause = "as JPEG leaves them" if mask.lossy else "as resizing or JPEG leave them"
        return (
            f"{len(used)} different values, {100 * near:.1f} % of the pixels near 0 and {top:g}, {cause}. Set "
            "data.masks.threshold: 0.5 (and save masks as PNG, unscaled, in future)"
        )
    return (
        f"{len(used)} different values from {used[0]} to {used[-1]}: probabilities (set data.masks.threshold, such as 0.5), "
        "numbered objects (save them as 0 and 255), or a picture that is no mask"
    )


def _highest(pixels: Pixels) -> float:
    return {"uint8": 255.0, "uint16": 65535.0}.get(pixels.dtype.name, 1.0)


def _counted(counts: Mapping[int, int]) -> str:
    shown = ", ".join(f"{value} ({pixels:,} pixels)" for value, pixels in list(counts.items())[:8])
    return f"{shown}{', ...' if len(counts) > 8 else ''}"


# --- another size -----------------------------------------------------------------------------------------------------------


def resample_planes(planes: Planes, height: int, width: int, exclusive: bool = True) -> Planes:
    """Planes at another size, decided by the area that each label covers; values are never mixed.

    A pixel of the result is ignored where ignored pixels cover half of it or more. Else the known area decides: where classes
    exclude each other, the label that covers most of it, background included; where they may overlap, each class that
    covers half of it or more. Foreground wins a tie, the first class before the others.

    Args:
        planes: (K, H, W) of 0, 1 and `IGNORED`; a pixel ignored in one plane counts as ignored in all.
        height: of the result.
        width: of the result.
        exclusive: a pixel is of one class at most.

    Returns:
        (K, height, width) uint8.

    >>> resample_planes(np.array([[[1, 0, 0, 0]]], np.uint8), 1, 2).tolist()
    [[[1, 0]]]
    """
    if planes.shape[1:] == (height, width):
        return np.ascontiguousarray(planes)
    unknown = (planes == IGNORED).any(axis=0)
    ignored = _share(unknown, height, width)
    shares = np.stack([_share((plane == 1) & ~unknown, height, width) for plane in planes])
    known = np.float32(1) - ignored
    if exclusive and len(planes) > 1:
        background = known - shares.sum(axis=0)
        first = np.rint(shares * 4096).argmax(axis=0)  # of equals the first, whatever the last bits of the areas
        result = (np.arange(len(planes))[:, None, None] == first).astype(np.uint8)
        result[:, shares.max(axis=0) < background - (np.float32(0.5) - _HALF)] = 0
    else:
        result = (shares >= _HALF * known).astype(np.uint8)
        result[shares == 0] = 0
    result[:, ignored >= _HALF] = IGNORED
    return np.ascontiguousarray(result)


def _share(label: NDArray[np.bool_], height: int, width: int) -> NDArray[np.float32]:
    """(height, width) share of each pixel's area that a label covers."""
    if not label.any():
        return np.zeros((height, width), np.float32)
    return scale(label.astype(np.float32), width, height)
