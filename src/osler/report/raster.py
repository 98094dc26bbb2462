"""Raster: rows of captioned images as one PNG file, for who wants to send or print a sheet. Pages use `contact_sheet`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.report.ink import INK, PAPER, SOFT

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = ["SheetRow", "sheet_png"]

GAP = 10
LINE = 15
HEAD = 26
MARGIN = 12


@dataclass(frozen=True)
class SheetRow:
    """Images under a heading.

    Attributes:
        title: the heading; "" for none.
        images: (H, W), (1, H, W) or (3, H, W) uint8; colour is RGB.
        captions: lines below each; the first is dark, the others gray.
    """

    title: str
    images: Sequence[NDArray[np.uint8]]
    captions: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.captions), f"{len(self.images)} images, {len(self.captions)} captions"


def sheet_png(
    rows: Sequence[SheetRow],
    *,
    columns: int = 8,
    side: int = 160,
    legend: Sequence[tuple[tuple[int, int, int], str]] = (),
) -> bytes:
    """Rows of images on white, each fitted into a square without stretching, broken after `columns`.

    Args:
        rows: from top to bottom.
        columns: images beside one another.
        side: pixels of a square.
        legend: RGB colours and what they mean, on top.

    Returns:
        A PNG file. Equal rows give equal bytes.
    """
    from PIL import Image, ImageDraw

    lines = max((len(caption) for row in rows for caption in row.captions), default=0)
    step = side + GAP + 4 + LINE * lines
    heights = [(HEAD if row.title else 0) + step * -(-len(row.images) // columns) for row in rows]
    most = min(columns, max((len(row.images) for row in rows), default=1))
    width = 2 * MARGIN + max(most, 2) * (side + GAP) - GAP
    top = MARGIN + (2 * LINE if legend else 0)
    canvas = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    _write_legend(draw, legend)
    for row, height in zip(rows, heights, strict=True):
        if row.title:
            draw.text((MARGIN, top + 3), row.title, fill=INK, font=_font(15, bold=True))
        for number, (image, caption) in enumerate(zip(row.images, row.captions, strict=True)):
            x = MARGIN + (number % columns) * (side + GAP)
            y = top + (HEAD if row.title else 0) + (number // columns) * step
            pixels = _fitted(image, side)
            canvas.paste(Image.fromarray(pixels), (x + (side - pixels.shape[1]) // 2, y + (side - pixels.shape[0]) // 2))
            for place, line in enumerate(caption):
                font = _font(11, bold=place == 0)
                draw.text((x, y + side + 3 + LINE * place), _cut(line, side, font), fill=INK if place == 0 else SOFT, font=font)
        top += height
    file = io.BytesIO()
    canvas.save(file, format="PNG")
    return file.getvalue()


def _write_legend(draw: ImageDraw, legend: Sequence[tuple[tuple[int, int, int], str]]) -> None:
    x = MARGIN
    for colour, text in legend:
        draw.rectangle((x, MARGIN, x + 12, MARGIN + 12), fill=colour, outline=SOFT)
        draw.text((x + 18, MARGIN - 1), text, fill=INK, font=_font(12))
        x += 36 + round(_font(12).getlength(text))


def _font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def _cut(text: str, width: int, font: FreeTypeFont) -> str:
    """As much of a text as fits."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _fitted(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(h, w, 3), its longer side `side` pixels: larger ones are shrunk by area, small ones keep their pixels visible."""
    pixels = image.transpose(1, 2, 0) if image.ndim == 3 else image[..., None]
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    scale = side / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how), dtype=np.uint8)
