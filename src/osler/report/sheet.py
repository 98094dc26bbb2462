"""Sheet: a contact sheet of images with a line of text below each, as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.report.ink import FONTS, INK, SOFT, data_uri, themed

__all__ = ["contact_sheet"]

GAP = 10
LINE = 15


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str | Sequence[str]],
    *,
    columns: int = 6,
    side: int = 160,
    legend: Sequence[tuple[tuple[int, int, int], str]] = (),
) -> str:
    """Images side by side, each fitted into a square of `side` pixels without stretching, with its caption below.

    Args:
        images: (H, W), (1, H, W) or (3, H, W) uint8, 0 to 255; colour is RGB. Larger ones are shrunk by area.
        captions: one text, or a few lines, for each.
        columns: images in a row.
        side: pixels of an image's longer side.
        legend: RGB colours and what they mean, above the images.

    Returns:
        A data URI of an SVG that holds PNG images, and text that follows the reader's theme.
    """
    assert len(images) == len(captions), f"{len(images)} images, {len(captions)} captions"
    lines = [[caption] if isinstance(caption, str) else list(caption) for caption in captions]
    step = side + GAP + 4 + LINE * max((len(text) for text in lines), default=0)
    columns = max(1, min(columns, len(images)))
    width = columns * (side + GAP) - GAP
    top = 2 * LINE if legend else 0
    height = max(1, top + math.ceil(len(images) / columns) * step - GAP)
    parts = _legend_tags(legend)
    for number, (image, text) in enumerate(zip(images, lines, strict=True)):
        x, y = (number % columns) * (side + GAP), top + (number // columns) * step
        parts.append(_image_tag(_fitted(image, side), x, y, side))
        parts += [_text_tag(line, x, y + side + LINE * (row + 1), side, first=row == 0) for row, line in enumerate(text)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return data_uri(themed(f"{head}{''.join(parts)}</svg>").encode(), "image/svg+xml")


def _fitted(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3), no side longer than `side`."""
    import cv2

    pixels = image.transpose(1, 2, 0).squeeze() if image.ndim == 3 else image
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _image_tag(pixels: NDArray[np.uint8], x: int, y: int, side: int) -> str:
    import cv2

    stored: Any = pixels if pixels.ndim == 2 else pixels[..., ::-1]  # OpenCV writes BGR
    done, png = cv2.imencode(".png", stored)
    assert done, "OpenCV writes any uint8 array as PNG"
    uri = data_uri(png.tobytes(), "image/png")
    # Small images keep their pixels visible instead of being blurred by the browser.
    crisp = ' style="image-rendering:pixelated"' if max(pixels.shape[:2]) * 2 <= side else ""
    return f'<image href="{uri}" x="{x}" y="{y}" width="{side}" height="{side}" preserveAspectRatio="xMidYMid"{crisp}/>'


def _legend_tags(legend: Sequence[tuple[tuple[int, int, int], str]]) -> list[str]:
    """Squares of colour with their words, in a row. As rgb(): these colours are in the pixels too, and follow no theme."""
    tags, x = [], 0
    for (red, green, blue), text in legend:
        tags.append(f'<rect x="{x}" y="1" width="12" height="12" rx="2" fill="rgb({red},{green},{blue})" stroke="{SOFT}"/>')
        tags.append(f'<text x="{x + 18}" y="11" style="font: 400 12px {FONTS}; fill: {INK}">{escape(text)}</text>')
        x += 36 + round(6.6 * len(text))
    return tags


def _text_tag(text: str, x: int, y: int, side: int, *, first: bool) -> str:
    most = max(26, round(26 * side / 160))
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    font = f"font: {600 if first else 400} 11px {FONTS}"
    return f'<text x="{x}" y="{y}" style="{font}; fill: {INK if first else SOFT}">{escape(shown)}</text>'
