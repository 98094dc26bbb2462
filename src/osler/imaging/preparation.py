"""What is done to an image's pixels before any model sees them; the same code, with the same numbers, in training and service.

The order is fixed: orient (done while reading) → gray → range → CLAHE → resize. Where low values are meant to be bright, 0–255 is
turned round at the end of range. The result is uint8 from 0 to 255, or with `dtype: uint16` the same scale in 257 times finer
steps, which `depth.for_network` takes back to 0–255. Shifting and scaling to a network's mean and SD happens inside the model,
so that an exported model carries it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pydantic
from numpy.typing import NDArray

from osler.config import PercentileRange, PreparationConfig
from osler.errors import DataError
from osler.imaging.clahe import equalise
from osler.imaging.depth import STEPS, TOPS, Depth, Levels
from osler.imaging.masks import IGNORED, resample_planes
from osler.imaging.raw import RawImage
from osler.imaging.scaling import scale
from osler.imaging.window import Window

__all__ = ["SMALL_BELOW", "USUAL_MASK_SIZE", "USUAL_SIZE", "Preparation", "golden_image", "suggested_size"]

SMALL_BELOW = 64
"""Images below this many pixels a side are small: they keep their size, and get a network of their own."""
USUAL_SIZE = 224
USUAL_MASK_SIZE = 512
"""Of images whose masks are predicted: a lesion must still be there after resizing."""

SCHEMA = "osler.preparation/1"


@dataclass(frozen=True)
class Preparation:
    """Turns what a file holds into what a model takes.

    Attributes:
        config: the parameters, `size` and `channels` already resolved to numbers.
    """

    config: PreparationConfig

    def __post_init__(self) -> None:
        assert self.config.size != "auto", "preparation.size must be resolved first"
        assert self.config.channels != "auto", "preparation.channels must be resolved first"

    @property
    def size(self) -> int:
        """Side of the square result in pixels."""
        return int(self.config.size)

    @property
    def channels(self) -> int:
        """1: gray; 3: RGB, or gray three times."""
        return int(self.config.channels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result."""
        return self.channels, self.size, self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the result."""
        return np.dtype(self.config.dtype)

    def apply(self, raw: RawImage) -> Levels:
        """Prepares one image.

        Colour becomes gray by the weights of ITU-R BT.601 where one channel is asked; where three are, colour stays, CLAHE
        works on the lightness of CIELAB alone, and gray images are repeated.

        Returns:
            (C, H, W) from 0 to 255, or to 65535 with `dtype: uint16`, contiguous; with `fit: pad`, 0 beside the image.

        Raises:
            DataError: the pixels do not fit `preparation.range`; the message gives the choices, and no name: the caller knows it.
        """
        pixels = _gray(raw.pixels) if self.channels == 1 else raw.pixels
        image = _to_levels(pixels, raw, self.config)
        if raw.inverted:
            image = TOPS[self.config.dtype] - image
        if self.config.clahe is not None:
            image = equalise(image, self.config.clahe)
        image = _fit(image, self.config)
        if image.ndim == 2:
            return np.repeat(image[None], self.channels, axis=0)
        return np.ascontiguousarray(image.transpose(2, 0, 1))

    def apply_mask(self, planes: NDArray[np.uint8], exclusive: bool = True) -> NDArray[np.uint8]:
        """A mask laid on its prepared image: the same geometry, resampled as labels.

        Args:
            planes: (K, H, W) of 0, 1 and `IGNORED`, of the size of the image as it was read.
            exclusive: a pixel is of one class at most.

        Returns:
            (K, size, size) uint8 of 0, 1 and `IGNORED`, contiguous; with `fit: pad`, `IGNORED` beside the image.
        """
        top, left, height, width = self.placed(*planes.shape[1:])
        inner = resample_planes(planes, height, width, exclusive)
        if (height, width) == (self.size, self.size):
            return inner
        canvas = np.full((len(planes), self.size, self.size), IGNORED, np.uint8)
        canvas[:, top : top + height, left : left + width] = inner
        return canvas

    def placed(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width, in pixels of the result, of where an image of this size lies in it.

        >>> Preparation(PreparationConfig(size=100, channels=1, fit="pad")).placed(100, 200)
        (25, 0, 50, 100)
        """
        return _placed(height, width, self.config)

    def fingerprint(self) -> str:
        """32 hex digits that change with every parameter, with OpenCV's major version, and with any arithmetic that differs."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps([SCHEMA, self._parameters, _opencv_major(), self.golden], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def _parameters(self) -> dict[str, Any]:
        """The parameters as JSON has them. Bytes go without saying: what was prepared before there was a choice is found."""
        return self.config.model_dump(mode="json", exclude={"dtype"} if self.config.dtype == "uint8" else None)

    @cached_property
    def golden(self) -> str:
        """SHA-256 of the golden image prepared on this machine: it shows what no version number does."""
        return hashlib.sha256(self.apply(golden_image(self.config)).tobytes()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The preparation for a model's card: parameters, meaning, and what it gave here."""
        dtype = self.config.dtype
        output: dict[str, Any] = {
            "dtype": dtype,
            "shape": list(self.shape),
            "low": 0,
            "high": TOPS[dtype],
            "layout": "CHW",
            "colours": "RGB",
        }
        if dtype == "uint16":
            output["network"] = {"dtype": "float32", "divided_by": STEPS}
        return {
            "schema": SCHEMA,
            **self._parameters,
            "order": ["orient", "gray", "range", "clahe", "resize"],
            "output": output,
            "opencv": _opencv_major(),
            "golden": self.golden,
            "fingerprint": self.fingerprint(),
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Preparation:
        """The preparation that a card describes.

        Its `fingerprint()` is computed here and now: where it differs from the card's, this machine prepares differently.

        Raises:
            DataError: the description is of another schema, or lacks or contradicts something.
        """
        if description.get("schema") != SCHEMA:
            raise DataError(
                f"preparation of the card: schema {description.get('schema')!r}, this version reads {SCHEMA!r}. "
                "Use the version of Osler that wrote the card."
            )
        try:
            stated = {"dtype": "uint8", **description}
            parameters = {field: stated[field] for field in PreparationConfig.model_fields}
            config = PreparationConfig.model_validate(parameters, strict=False)
        except KeyError as error:
            raise DataError(f"preparation of the card: {error} is missing. Export the model again.") from error
        except pydantic.ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise DataError(f"preparation of the card: {faults}. Export the model again.") from error
        if "auto" in (config.size, config.channels):
            raise DataError("preparation of the card: size and channels must be numbers, not 'auto'. Export the model again.")
        return cls(config)


# --- the steps --------------------------------------------------------------------------------------------------------------


def suggested_size(side: int, most: int = USUAL_SIZE) -> int:
    """The side to prepare images at whose own larger side is `side` pixels at the median.

    Their own below 64 pixels; `most` for large ones, by default 224, on which the usual weights were trained; between, the
    next multiple of the usual networks' stride, 32.

    >>> suggested_size(28), suggested_size(100), suggested_size(2000)
    (28, 128, 224)
    """
    if side < SMALL_BELOW:
        return max(8, side)
    return min(most, -(-side // 32) * 32)


def _gray(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) by 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, 2.5.1)."""
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _to_levels(pixels: NDArray[Any], raw: RawImage, config: PreparationConfig) -> Levels:
    """Maps [low, high] of `preparation.range` to 0–255 linearly, or by the image's window; what lies outside is clipped.

    With `dtype: uint16`, to 0–65535.
    """
    if config.range is None or (config.range == "window" and raw.window is None):
        if pixels.dtype == np.uint8:
            return pixels.astype(np.uint8, copy=False) if config.dtype == "uint8" else pixels.astype(np.uint16) * np.uint16(STEPS)
        raise DataError(_unstated(pixels, config))
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        bad = int((~np.isfinite(pixels)).sum())
        raise DataError(f"{bad} of {pixels.size} pixel values are NaN or infinite. Replace them in the file.")
    window = raw.window if config.range == "window" else None
    shades = _linear(pixels, raw, config) if window is None else _windowed(window, config)
    if pixels.dtype.kind == "f":
        return shades(pixels)
    # Every value that the type can take is mapped once, and the pixels look theirs up.
    return np.take(shades(np.arange(np.iinfo(pixels.dtype).max + 1)), pixels)


def _windowed(window: Window, config: PreparationConfig) -> Callable[[NDArray[Any]], Levels]:
    return lambda values: window.shades(values, config.dtype)


def _linear(pixels: NDArray[Any], raw: RawImage, config: PreparationConfig) -> Callable[[NDArray[Any]], Levels]:
    low, high = _limits(pixels, raw, config)
    return lambda values: _scaled(values, low, high, config.dtype)


def _limits(pixels: NDArray[Any], raw: RawImage, config: PreparationConfig) -> tuple[float, float]:
    """The values that become black and white."""
    if isinstance(config.range, tuple):
        return config.range
    if isinstance(config.range, PercentileRange):
        low, high = np.percentile(pixels, config.range.percentile)
        return float(low), float(high)
    if not np.isfinite([raw.low, raw.high]).all():
        raise DataError(
            "preparation.range is dtype, and floating-point pixels have no full range. "
            "Set preparation.range to [low, high], or to {percentile: [0.5, 99.5]}."
        )
    return raw.low, raw.high


def _unstated(pixels: NDArray[Any], config: PreparationConfig) -> str:
    why = "null, which is for 8 bits" if config.range is None else "window, which DICOM files have and this image has not"
    return (
        f"{pixels.dtype} pixels from {pixels.min():g} to {pixels.max():g}, and preparation.range is {why}. "
        "What becomes black and white must be said: preparation.range: dtype (the type's full range), [low, high], or "
        "{percentile: [0.5, 99.5]} of each image."
    )


def _scaled(values: NDArray[Any], low: float, high: float, dtype: Depth = "uint8") -> Levels:
    """Linear, [low, high] → the whole type, rounded half to even; 0 where low equals high, as in a constant image's percentiles.

    >>> _scaled(np.array([-1.0, 0.0, 2.0, 4.0, 9.0]), 0.0, 4.0).tolist()
    [0, 0, 128, 255, 255]
    """
    if not low < high:
        return np.zeros(values.shape, dtype)
    top = float(TOPS[dtype])
    scaled = (values.astype(np.float64) - low) * (top / (high - low))
    return np.rint(np.clip(scaled, 0.0, top)).astype(dtype)


def _placed(height: int, width: int, config: PreparationConfig) -> tuple[int, int, int, int]:
    """Top, left, height and width of an image in its prepared square; with `fit: pad` the longer side fills the square."""
    size = int(config.size)
    if config.fit == "stretch":
        return 0, 0, size, size
    factor = size / max(height, width)
    inner = max(1, round(height * factor)), max(1, round(width * factor))
    return (size - inner[0]) // 2, (size - inner[1]) // 2, *inner


def _fit(image: Levels, config: PreparationConfig) -> Levels:
    """Scales an image to its place, on black."""
    top, left, height, width = _placed(image.shape[0], image.shape[1], config)
    inner = scale(image, width, height)
    if config.fit == "stretch":
        return inner
    canvas = np.zeros((int(config.size), int(config.size), *image.shape[2:]), image.dtype)
    canvas[top : top + height, left : left + width] = inner
    return canvas


# --- the golden image -------------------------------------------------------------------------------------------------------


def golden_image(config: PreparationConfig) -> RawImage:
    """A fixed colour image with ramps, edges and grain, in the pixel type that `config.range` is for.

    It is made by integer arithmetic alone, so it is the same on every machine; what differs after `apply` is the preparation.
    With a range [low, high] its values reach a tenth of the span beyond both ends.

    It is larger than the result, up to 777 × 1027, so that it is shrunk as most images are.

    >>> golden_image(PreparationConfig(size=32, channels=1)).pixels.shape
    (49, 67, 3)
    """
    assert isinstance(config.size, int)
    height, width = min(config.size * 3 // 2 + 1, 777), min(config.size * 2 + 3, 1027)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int64)
    grain = (rows * 1031 + columns) * 1103515245 % 2147483648 // 65536 % 8192
    disc = ((2 * rows - height) ** 2 + (2 * columns - width) ** 2 < (height * 2 // 3) ** 2) * 16000
    down, across = rows * 40000 // height, columns * 40000 // width
    colours = (down + disc, across + disc, (down + across) // 2 + (columns // 16 % 2) * 12000)
    values = np.stack([np.clip(colour + grain, 0, 65535) for colour in colours], axis=-1).astype(np.uint16)
    if config.range is None:
        return RawImage((values >> 8).astype(np.uint8), 0.0, 255.0)
    if not isinstance(config.range, tuple):
        return RawImage(values, 0.0, 65535.0, window=Window("linear", 30000.0, 50000.0))
    low, high = config.range
    spread = (low + (values / 65535.0 * 1.2 - 0.1) * (high - low)).astype(np.float32)
    return RawImage(spread, float("nan"), float("nan"))


def _opencv_major() -> int:
    return int(cv2.__version__.partition(".")[0])
