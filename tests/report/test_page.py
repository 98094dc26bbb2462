"""Pages: what is written is there in all three forms, escaped, and whole."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any, get_args

import pytest

from osler.report.page import (
    DATA,
    MARKDOWN,
    Block,
    Bullets,
    Callout,
    Cell,
    Code,
    Facts,
    Gallery,
    Headline,
    Headlines,
    Page,
    Paragraph,
    Picture,
    Section,
    Span,
    Table,
    cell_text,
)

PIXEL = "data:image/png;base64,iVBORw0KGgo="
EVIL = "<script>alert('x')</script> & | *bold*"
VOID = {"meta", "img", "br", "hr", "link", "input"}


def one_of_each(word: str) -> list[Block]:
    """Every kind of block, each holding `word`."""
    picture = Picture(PIXEL, f"caption {word}", f"alt {word}", title=f"title {word}")
    return [
        Paragraph(word),
        Bullets([word, "second"]),
        Code(word, "yaml"),
        Table(
            ["name", "AUC"], [[word, Cell("0.81", {"value": 0.81, "low": float("nan")}, Span(0.81, 0.7, 0.9, 0.5))]], note=word
        ),
        picture,
        Gallery([picture, picture]),
        Facts({"run": word, "samples": 12000}),
        Headlines([Headline("AUC", word, "detail", Span(0.8, 0.7, 0.9, 0.5))]),
        Callout(word, "warning"),
    ]


def page_of(blocks: list[Block], **fields: str) -> Page:
    return Page("Title", [Section("First part", blocks)], **fields)


class Reader(HTMLParser):
    """Checks that tags are balanced, and gathers texts, tags and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    return reader


def test_the_examples_hold_every_kind_of_block() -> None:
    kinds = {block.kind for block in get_args(Block)}
    assert {block.kind for block in one_of_each("x")} == kinds == set(DATA) == set(MARKDOWN)


@pytest.mark.parametrize("block", one_of_each("wordhere"), ids=lambda block: block.kind)
def test_every_block_shows_its_words_in_all_three_forms(block: Any) -> None:
    page = page_of([block])
    assert "wordhere" in page.html()
    assert "wordhere" in page.markdown()
    assert "wordhere" in json.dumps(page.data(), allow_nan=False)


@pytest.mark.parametrize("block", one_of_each(EVIL), ids=lambda block: block.kind)
def test_nothing_in_a_text_becomes_markup(block: Any) -> None:
    page = Page(EVIL, [Section(EVIL, [block])], lead=EVIL, notice=EVIL, footer=EVIL)
    reader = read(page.html())
    assert "script" not in reader.tags
    assert "<script>" in reader.text
    markdown = re.sub(r"```.*?```", "", page.markdown(), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<script", markdown)
    assert page.data()["title"] == EVIL


def test_the_file_needs_nothing_else() -> None:
    html = page_of(one_of_each("x")).html()
    reader = read(html)
    assert {"script", "link", "iframe", "object"}.isdisjoint(reader.tags)
    assert all(address.startswith(("#", "data:image/")) for address in reader.addresses)
    assert "@import" not in html
    assert "url(" not in html


def test_contents_lead_to_every_section() -> None:
    page = Page("t", [Section("Per class", []), Section("Per class", []), Section("¿?", [])])
    reader = read(page.html())
    assert [address for address in reader.addresses if address.startswith("#")] == ["#per-class", "#per-class-2", "#section"]
    assert set(page.anchors()) <= set(reader.ids)


def test_themes_and_print_are_provided_for() -> None:
    html = page_of([]).html()
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert "@media print" in html
    assert 'name="viewport"' in html


def test_the_notice_stands_on_top_and_at_the_bottom() -> None:
    assert read(page_of([], notice="Not a medical device.").html()).text.count("Not a medical device.") == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.84213, "0.842"),
        (float("nan"), "–"),
        (None, "–"),
        (12000, "12,000"),
        (True, "yes"),
        (False, "no"),
        ("word", "word"),
        (12.345, "12.3"),
        (Cell("shown", 1), "shown"),
    ],
)
def test_cells_read_well(value: Any, text: str) -> None:
    assert cell_text(value) == text


def test_missing_values_are_null_in_json_and_a_dash_for_people() -> None:
    page = page_of([Table(["class", "AUC", "AP"], [["Hernia", float("nan"), Cell("0.2", {"value": float("inf")})]])])
    rows = page.data()["sections"][0]["blocks"][0]["rows"]
    assert rows == [["Hernia", None, {"value": None}]]
    assert "| Hernia | – | 0.2 |" in page.markdown()


def test_numbers_stand_to_the_right() -> None:
    table = Table(["class", "n", "AUC", "mixed"], [["a", 1, Cell("0.8", {"value": 0.8}), 1], ["b", None, float("nan"), "x"]])
    assert table.numeric() == (False, True, True, False)
    assert "| --- | --: | --: | --- |" in page_of([table]).markdown()


def test_rows_fit_their_columns() -> None:
    with pytest.raises(AssertionError, match="2 columns"):
        Table(["a", "b"], [["only one"]])


def test_pictures_lie_inside() -> None:
    with pytest.raises(AssertionError, match="inside the page"):
        Picture("https://example.org/a.png", "c", "a")


def test_bars_show_value_interval_and_floor() -> None:
    html = page_of([Headlines([Headline("AUC", "0.8", span=Span(0.8, 0.7, 0.9, 0.5))])]).html()
    assert 'class="floor" style="left:50.00%"' in html
    assert 'class="range" style="left:70.00%;width:20.00%"' in html
    assert 'class="dot" style="left:80.00%"' in html
