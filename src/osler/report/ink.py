"""Ink: the one style of all pictures, and the way from a matplotlib figure to a data URI.

Pictures are SVG with real text and with colours as CSS variables, so that one file follows the reader's light or dark theme,
and prints light. The colours of series are those of Okabe and Ito (2008), which colour-blind readers can tell apart; the
dark theme uses lighter variants of the same hues.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "CRITICAL",
    "FONTS",
    "GREEN",
    "INK",
    "MARGIN",
    "ORANGE",
    "PAPER",
    "PURPLE",
    "SKY",
    "SOFT",
    "WARNING",
    "data_uri",
    "grid",
    "panel",
    "panels",
    "svg_and_png",
    "svg_uri",
    "themed",
]

INK = "#1c2127"
SOFT = "#57616c"
GRID = "#e4e8ec"
EDGE = "#b8c0c8"
PAPER = "#ffffff"
BLUE = "#0072b2"
SKY = "#9cc7e2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
# The page's own colours of a warning and of what is critical.
WARNING = "#a35a00"
CRITICAL = "#b3261e"

MARGIN = 0.53
"""Inches left of and below a grid of panels, for the axes' numbers and labels."""

DARK = {
    INK: "#e4e8ec",
    SOFT: "#9ba6b1",
    GRID: "#2a323b",
    EDGE: "#4a5560",
    PAPER: "#12161b",
    BLUE: "#56b4e9",
    SKY: "#2b6a92",
    ORANGE: "#ff8a3d",
    GREEN: "#3cc79a",
    PURPLE: "#e3a2c4",
    WARNING: "#e8a33d",
    CRITICAL: "#ff7b72",
}

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

STYLE: dict[Any, Any] = {
    # Real text is small, sharp and selectable; DejaVu, by which matplotlib measures, is wider than the fonts above.
    "svg.fonttype": "none",
    "svg.hashsalt": "osler",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": EDGE,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@contextmanager
def panel(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one set of axes in the common style, with room made for its texts; inches, texts included."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


@contextmanager
def panels(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of rows × columns axes, row by row, in the common style, with room made for their texts; inches of the whole."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


@contextmanager
def grid(count: int, columns: int, side: float, gap: tuple[float, float]) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of `count` squares in rows of `columns`, placed without measuring texts, which takes half the time.

    Args:
        count: squares.
        columns: in a row.
        side: of a square in inches.
        gap: to the right of and above each square, in inches, for its texts; the figure's own labels have theirs.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    width = MARGIN + columns * (side + gap[0])
    height = MARGIN + rows * (side + gap[1])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = []
        for number in range(count):
            row, column = divmod(number, columns)
            left, bottom = MARGIN + column * (side + gap[0]), MARGIN + (rows - 1 - row) * (side + gap[1])
            axes.append(figure.add_axes((left / width, bottom / height, side / width, side / height)))
        yield figure, axes


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI of an SVG that follows the reader's theme. Equal figures give equal bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    FigureCanvasSVG(figure)
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return data_uri(themed(file.getvalue()).encode(), "image/svg+xml")


def svg_and_png(figure: Figure, dots: int = 150) -> tuple[str, bytes]:
    """The figure as `svg_uri` gives it for a page, and as a PNG file on white, `dots` pixels an inch, to send or print."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    uri, file = svg_uri(figure), io.BytesIO()
    figure.set_layout_engine("none")  # it is laid out; measuring all texts again would take half the time
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="png", dpi=dots, facecolor=PAPER, metadata={"Software": None})
    return uri, file.getvalue()


def themed(svg: str) -> str:
    """An SVG text with our colours as variables that the reader's theme sets, and the page's fonts.

    >>> themed('<svg><path style="fill: #1c2127"/></svg>').endswith('<path style="fill: var(--c0, #1c2127)"/></svg>')
    True
    """
    names = {colour: f"--c{number}" for number, colour in enumerate(DARK)}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name}, {colour})")
    svg = re.sub(r"(font(?:-family)?: [^;\"']*)'DejaVu Sans'[^;\"]*", lambda found: f"{found[1]}{FONTS}", svg)
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{names[colour]}:{value};" for colour, value in DARK.items())
    style = f"<style>:root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    start = svg.index(">", svg.index("<svg")) + 1
    return svg[:start] + style + svg[start:]


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a data URI.

    >>> data_uri(b"hi", "image/png")
    'data:image/png;base64,aGk='
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
