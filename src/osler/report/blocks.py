"""Blocks: what a page is made of. They hold what was found, and know nothing of how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

__all__ = [
    "Block",
    "Bullets",
    "Callout",
    "Cell",
    "CellValue",
    "Code",
    "Facts",
    "Gallery",
    "Headline",
    "Headlines",
    "Paragraph",
    "Picture",
    "Span",
    "Table",
    "Tone",
]

Tone = Literal["note", "good", "warning", "critical"]


@dataclass(frozen=True)
class Span:
    """A figure between 0 and 1 with its interval, drawn as a bar below its text; `floor` is what a constant reaches."""

    value: float
    low: float
    high: float
    floor: float | None = None


@dataclass(frozen=True)
class Cell:
    """A table cell whose text differs from its value.

    Attributes:
        text: what a person reads.
        data: what `.data()` holds instead: any strict JSON.
        span: drawn as a small interval bar.
        detail: a second line, smaller, such as the interval.
        hint: further words, shown on hovering and left out of print.
        strong: set in bold.
    """

    text: str
    data: Any = None
    span: Span | None = None
    detail: str = ""
    hint: str = ""
    strong: bool = False


CellValue = Cell | str | float | int | bool | None


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    kind: ClassVar[str] = "paragraph"
    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of short statements."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines to copy: a command, a piece of YAML."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under named columns. A column is set to the right where every cell of it is a number or missing.

    Attributes:
        columns: headings.
        rows: cells; NaN and None are missing and shown as a dash.
        note: what a reader must know to read it.
        caption: what it shows.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[CellValue]]
    note: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        wrong = [len(row) for row in self.rows if len(row) != len(self.columns)]
        assert not wrong, f"{len(self.columns)} columns, but rows of {wrong} cells"

    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(all(_is_number(row[k]) for row in self.rows) for k in range(len(self.columns)))


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Attributes:
        uri: "data:image/..." of an SVG or PNG.
        caption: what to see in it.
        alt: the same for who cannot see it, with the figures that matter.
        title: what it shows, above it.
        wide: takes the page's full width, and scrolls sideways on a narrow screen instead of shrinking.
    """

    kind: ClassVar[str] = "picture"
    uri: str
    caption: str
    alt: str
    title: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        assert self.uri.startswith("data:image/"), f"a picture lies inside the page; got {self.uri[:40]!r}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    kind: ClassVar[str] = "facts"
    items: Mapping[str, CellValue]


@dataclass(frozen=True)
class Headline:
    """One figure that matters: its name, its text, its interval in words, and a bar."""

    label: str
    text: str
    detail: str = ""
    span: Span | None = None


@dataclass(frozen=True)
class Headlines:
    """The figures to see first."""

    kind: ClassVar[str] = "headlines"
    items: Sequence[Headline]


@dataclass(frozen=True)
class Callout:
    """A statement that must not be missed."""

    kind: ClassVar[str] = "callout"
    text: str
    tone: Tone = "note"
    title: str = ""


Block = Paragraph | Bullets | Code | Table | Picture | Gallery | Facts | Headlines | Callout


def _is_number(value: CellValue) -> bool:
    if isinstance(value, Cell):
        return isinstance(value.data, (int, float, Mapping))
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
