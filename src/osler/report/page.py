"""Page: sections of blocks, written as one self-contained HTML file, as Markdown, or as strict JSON.

A page holds what was found, not how it looks: the same blocks give `.html()` (inline styles, no script, nothing fetched),
`.markdown()` and `.data()`. Texts are plain; whatever they contain is escaped.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.files import strict_json
from osler.report.blocks import (
    Block,
    Bullets,
    Callout,
    Cell,
    CellValue,
    Code,
    Facts,
    Gallery,
    Headline,
    Headlines,
    Paragraph,
    Picture,
    Span,
    Table,
    Tone,
)

if TYPE_CHECKING:
    import jinja2

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
    "Page",
    "Paragraph",
    "Picture",
    "Section",
    "Span",
    "Table",
    "Tone",
]

SCHEMA = "osler.page/1"
MISSING = "–"


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: its heading and the name of the browser's tab.
        sections: in reading order; the table of contents lists them.
        lead: the first sentences, in larger type.
        notice: a statement on the page's top and bottom, such as what the results may not be used for.
        footer: where it came from, and when.
    """

    title: str
    sections: Sequence[Section]
    lead: str = ""
    notice: str = ""
    footer: str = ""

    def anchors(self) -> tuple[str, ...]:
        """One distinct fragment name for each section.

        >>> Page("t", [Section("Per class", []), Section("Per class", [])]).anchors()
        ('per-class', 'per-class-2')
        """
        seen: dict[str, int] = {}
        names = []
        for section in self.sections:
            name = re.sub(r"[^\w]+", "-", section.title.lower()).strip("-") or "section"
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
        return tuple(names)

    def html(self) -> str:
        """One HTML file that needs nothing else: styles and pictures inside, no script."""
        return _template().render(page=self, anchors=self.anchors(), text=cell_text)

    def markdown(self) -> str:
        """The same in Markdown; pictures are given by their description."""
        parts = [f"# {_plain(self.title)}"]
        if self.notice:
            parts.append(f"**{_plain(self.notice)}**")
        if self.lead:
            parts.append(_plain(self.lead))
        for section in self.sections:
            parts.append(f"## {_plain(section.title)}")
            parts += [MARKDOWN[block.kind](block) for block in section.blocks]
        if self.footer:
            parts.append(f"---\n\n{_plain(self.footer)}")
        return "\n\n".join(parts) + "\n"

    def data(self) -> dict[str, Any]:
        """The same as strict JSON: no NaN; pictures by their description, without their pixels."""
        sections = [
            {"title": section.title, "anchor": anchor, "blocks": [_block_data(block) for block in section.blocks]}
            for section, anchor in zip(self.sections, self.anchors(), strict=True)
        ]
        page = {"schema": SCHEMA, "title": self.title, "notice": self.notice, "lead": self.lead, "footer": self.footer}
        return {**page, "sections": sections}


# --- cells ------------------------------------------------------------------------------------------------------------------


def cell_text(value: CellValue) -> str:
    """What a person reads in a cell.

    >>> cell_text(0.84213), cell_text(12000), cell_text(float("nan")), cell_text(True)
    ('0.842', '12,000', '–', 'yes')
    """
    if isinstance(value, Cell):
        return f"{value.text} {value.detail}" if value.detail else value.text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1 else f"{value:.3g}"
    return value


def _cell_data(value: CellValue) -> Any:
    if isinstance(value, Cell):
        return strict_json(value.text if value.data is None else value.data)
    return strict_json(value)


# --- JSON -------------------------------------------------------------------------------------------------------------------


def _block_data(block: Block) -> dict[str, Any]:
    return {"kind": block.kind, **DATA[block.kind](block)}


def _table_data(block: Table) -> dict[str, Any]:
    rows = [[_cell_data(cell) for cell in row] for row in block.rows]
    return {"caption": block.caption, "columns": list(block.columns), "rows": rows, "note": block.note}


def _headline_data(headline: Headline) -> dict[str, Any]:
    span = headline.span
    figures = {"value": span.value, "low": span.low, "high": span.high, "floor": span.floor} if span else {}
    return {"label": headline.label, "text": headline.text, "detail": headline.detail, **strict_json(figures)}


DATA: dict[str, Callable[[Any], dict[str, Any]]] = {
    "paragraph": lambda block: {"text": block.text},
    "bullets": lambda block: {"items": list(block.items)},
    "code": lambda block: {"text": block.text, "language": block.language},
    "table": _table_data,
    "picture": lambda block: {"title": block.title, "caption": block.caption, "alt": block.alt},
    "gallery": lambda block: {"pictures": [DATA["picture"](picture) for picture in block.pictures]},
    "facts": lambda block: {"items": {name: _cell_data(value) for name, value in block.items.items()}},
    "headlines": lambda block: {"items": [_headline_data(item) for item in block.items]},
    "callout": lambda block: {"tone": block.tone, "title": block.title, "text": block.text},
}


# --- Markdown ---------------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def _table_markdown(block: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = ["--:" if numeric else "---" for numeric in block.numeric()]
    rows = [line([_plain(cell_text(cell)).replace("\n", " ") for cell in row]) for row in block.rows]
    lines = [line([_plain(name) for name in block.columns]), line(rule), *rows]
    parts = [f"**{_plain(block.caption)}**"] if block.caption else []
    parts.append("\n".join(lines))
    return "\n\n".join([*parts, _plain(block.note)] if block.note else parts)


def _facts_markdown(block: Facts) -> str:
    return "\n".join(f"- **{_plain(name)}**: {_plain(cell_text(value))}" for name, value in block.items.items())


def _headlines_markdown(block: Headlines) -> str:
    return "\n".join(
        f"- **{_plain(item.label)}: {_plain(item.text)}**{f' ({_plain(item.detail)})' if item.detail else ''}"
        for item in block.items
    )


def _picture_markdown(block: Picture) -> str:
    title = f"**{_plain(block.title)}.** " if block.title else ""
    return f"{title}{_plain(block.caption)} (Picture: {_plain(block.alt)})"


def _callout_markdown(block: Callout) -> str:
    return f"> **{_plain(block.title or block.tone.capitalize())}.** {_plain(block.text)}"


MARKDOWN: dict[str, Callable[[Any], str]] = {
    "paragraph": lambda block: _plain(block.text),
    "bullets": lambda block: "\n".join(f"- {_plain(item)}" for item in block.items),
    "code": lambda block: f"```{block.language}\n{block.text}\n```",
    "table": _table_markdown,
    "picture": _picture_markdown,
    "gallery": lambda block: "\n\n".join(MARKDOWN["picture"](picture) for picture in block.pictures),
    "facts": _facts_markdown,
    "headlines": _headlines_markdown,
    "callout": _callout_markdown,
}


# --- HTML -------------------------------------------------------------------------------------------------------------------


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
