"""The page of a draw: the verdict, the four panels, and every class's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import osler
from osler.balance.masks import MaskBalance
from osler.balance.odds import Odds
from osler.balance.proof import ClassDraw, Proof
from osler.balance.text import sampler_name, spread_text, totals
from osler.balance.verdict import Statement, number, percent
from osler.config import Config
from osler.data.balance import NO_FINDING
from osler.data.load import Data
from osler.report.balance_pictures import DrawnRow, ImbalanceRow, drawn_picture, imbalance_picture
from osler.report.page import (
    Block,
    Bullets,
    Callout,
    Cell,
    CellValue,
    Facts,
    Headline,
    Headlines,
    Page,
    Paragraph,
    Picture,
    Section,
    Span,
    Table,
)

__all__ = ["balance_page"]

NAN = float("nan")
TITLES = {
    "findings_drowned": "Findings drown",
    "no_finding_starved": "Samples without a finding are missing",
    "not_as_weighted": "Not what the weights say",
    "rare_starved": "Rare classes are starved",
    "batches_without_positives": "Batches without positives",
    "repeated_often": "The same samples again and again",
    "corrected_twice": "Corrected twice",
    "corrected_by_both": "Corrected by both",
    "overcorrected": "Too much",
    "held_down": "Positives held down",
    "unweighted": "As the samples are",
    "as_weighted": "As weighted",
}


def balance_page(
    config: Config, data: Data, proof: Proof, odds: Odds, verdict: Sequence[Statement], masks: MaskBalance | None
) -> tuple[Page, dict[str, bytes]]:
    """The page, from what was drawn and what is in force; and its figures as PNG files by name."""
    panels, drawn = _panels(proof, odds), drawn_picture(_drawn_rows(proof))
    callouts = [Callout(one.text, one.tone, TITLES[one.id]) for one in verdict]
    sections = [
        Section("Verdict", [_headlines(proof), *callouts]),
        Section("Counts, weights, odds", [_imbalance(panels[0], odds), *_odds_blocks(odds)]),
        Section("What is drawn", [Paragraph(totals(proof)), _drawn(drawn[0], proof), _spread(proof), _draw_table(proof)]),
        Section("Pixels", [] if masks is None else _pixels(masks, odds)),
        Section("The data", _facts(config, data)),
    ]
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    page = Page(
        title=f"Balance of {config.run.name}",
        sections=[section for section in sections if section.blocks],
        lead=verdict[0].text,
        footer=f"Written by Osler {osler.__version__} on {now}. The same figures: balance.json.",
    )
    return page, {"balance.png": panels[1], "drawn.png": drawn[1]}


def _headlines(proof: Proof) -> Headlines:
    spread, none = proof.variation, proof.none
    items = []
    if none is not None:
        items.append(
            Headline(
                f"Drawn: {none.name.strip('()')}",
                percent(none.drawn),
                f"{percent(none.natural)} of the samples",
                Span(none.drawn, none.low, none.high, none.natural),
            )
        )
    if spread.over > 1:
        items.append(Headline(f"CV over {spread.over} classes", f"{spread.drawn:.2f}", f"{spread.natural:.2f} unweighted"))
    rarest = min(proof.classes[: proof.labels], key=lambda one: one.natural)
    items.append(
        Headline(
            f"Drawn: {rarest.name}, the rarest",
            percent(rarest.drawn),
            f"{percent(rarest.natural)} of the samples",
            Span(rarest.drawn, rarest.low, rarest.high, rarest.natural),
        )
    )
    items.append(Headline("Samples seen in an epoch", percent(proof.epoch_share), "different ones, by the weights"))
    return Headlines(items)


# --- counts, weights, odds --------------------------------------------------------------------------------------------------


def _panels(proof: Proof, odds: Odds) -> tuple[str, bytes]:
    by_name = {one.name: one for one in odds.classes}
    rows = []
    for one in _ordered(proof):
        found = by_name.get(one.name)
        if found is not None:
            figures = (found.loss, found.natural, found.drawn, found.in_force)
        elif one.name == NO_FINDING and odds.unit == "samples":
            drawn = _odds(one.expected)  # no weight of the loss is theirs
            figures = (NAN, _odds(one.natural), drawn, drawn)
        else:
            figures = (NAN, NAN, NAN, NAN)
        rows.append(ImbalanceRow(one.name, one.samples, figures[0], one.times, *figures[1:]))
    return imbalance_picture(rows, f"{odds.key} of {odds.loss}", odds.fair)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf


def _imbalance(uri: str, odds: Odds) -> Picture:
    said = "; ".join(f"{one.name}: {number(one.natural)} to {number(one.in_force)}" for one in odds.classes)
    return Picture(
        uri,
        "From the most frequent class to the rarest. Both together: circle, the odds of a class among the samples; dot, among "
        "what is drawn; diamond, as the loss weighs what is drawn. Dashed: where all classes count the same. "
        + ("The odds are those of a pixel." if odds.unit == "pixels" else ""),
        f"Odds from natural to in force. {said}.",
        title="Imbalance, and what is done about it",
        wide=True,
    )


def _odds_blocks(odds: Odds) -> list[Block]:
    rows: list[list[CellValue]] = [
        [
            one.name,
            _figure(one.natural),
            _figure(one.sampler),
            _figure(one.loss),
            _figure(one.in_force),
            Cell(percent(one.natural / (1 + one.natural)) if math.isfinite(one.natural) else "100 %", one.natural),
            Cell(percent(one.share), one.share),
            _figure(one.shift),
        ]
        for one in odds.classes
    ]
    columns = [
        "Class",
        f"Odds in {odds.unit}",
        "× sampler",
        f"× loss ({odds.key})",
        "Odds in force",
        "True share",
        "Share in force",
        "Logits",
    ]
    note = (
        f"A model that knows nothing answers the share in force; outputs move by so many logits. Fair: odds {number(odds.fair)}."
        + (" The loss's exponent gamma is not an odds factor and not counted." if odds.loss == "focal" else "")
        + (f" loss.{odds.key} is auto: worked out from what is drawn." if odds.auto else "")
    )
    return [Table(columns, rows, note, "Effective odds in force")]


def _figure(value: float) -> Cell:
    return Cell(number(value), value if math.isfinite(value) else None)


# --- what is drawn ----------------------------------------------------------------------------------------------------------


def _ordered(proof: Proof) -> list[ClassDraw]:
    """From the most frequent to the rarest."""
    return sorted(proof.classes, key=lambda one: -one.samples)


def _drawn_rows(proof: Proof) -> list[DrawnRow]:
    return [DrawnRow(one.name, one.natural, one.expected, one.drawn, one.low, one.high) for one in _ordered(proof)]


def _drawn(uri: str, proof: Proof) -> Picture:
    said = "; ".join(f"{one.name} {percent(one.drawn)}" for one in _ordered(proof))
    return Picture(
        uri,
        "Dot and line: share of what was drawn, with its 95 % interval. Orange: by the weights. Circle: of the samples.",
        f"Shares drawn: {said}.",
        title=f"What {proof.batches:,} batches hold",
        wide=True,
    )


def _spread(proof: Proof) -> Bullets:
    items = [f"CV over {spread_text(proof.variation)}."]
    if proof.variation_all is not None:
        items.append(f"CV over {spread_text(proof.variation_all)}, with {proof.classes[-1].name} as one class more.")
    items.append(
        "CV: population standard deviation of the shares over their mean; 0 is even. A sample with several findings counts "
        "under each."
    )
    return Bullets(items)


def _draw_table(proof: Proof) -> Table:
    rows: list[list[CellValue]] = [
        [
            one.name,
            one.samples,
            Cell(percent(one.natural), one.natural),
            Cell(percent(one.expected), one.expected),
            Cell(percent(one.drawn), one.drawn, detail=f"{percent(one.low)} to {percent(one.high)}", strong=one.far),
            _figure(one.times),
            Cell(percent(one.batches_without), one.batches_without),
            Cell(percent(one.batches_without_expected), one.batches_without_expected),
            Cell(percent(one.batches_without_natural), one.batches_without_natural),
        ]
        for one in _ordered(proof)
    ]
    columns = [
        "Class",
        "Samples",
        "Unweighted",
        "By weights",
        "Drawn",
        "Times an epoch",
        "Batches without",
        "By weights ",
        "Unweighted ",
    ]
    note = (
        "Times an epoch: how often one sample of the class is drawn. Batches without: share of the batches that hold none of it. "
        "In bold: further from the weights than chance explains."
    )
    return Table(columns, rows, note, "Every class, and the samples without any" if proof.none else "Every class")


# --- pixels, data -----------------------------------------------------------------------------------------------------------


def _pixels(masks: MaskBalance, odds: Odds) -> list[Block]:
    rows: list[list[CellValue]] = [
        [
            name,
            Cell(percent(masks.shares[k]), float(masks.shares[k])),
            Cell("–" if math.isnan(masks.median[k]) else percent(masks.median[k]), float(masks.median[k])),
            Cell(percent(masks.drawn_shares[k]), float(masks.drawn_shares[k])),
            Cell(percent(masks.patches_with[k]) if masks.patches else "–", float(masks.patches_with[k])),
        ]
        for k, name in enumerate(masks.classes)
    ]
    columns = ["Class", "Of all pixels", "Median where it is", "Of what is trained on", "Patches with it"]
    text = f"{masks.images:,} masks of train were prepared and counted; unknown pixels are left out."
    if masks.patches:
        text += f" {masks.patches:,} patches were cut as training cuts them: {percent(masks.any_foreground)} hold foreground."
    return [Paragraph(text), Table(columns, rows)]


def _facts(config: Config, data: Data) -> list[Block]:
    facts = {
        "Task": data.source.task,
        "Samples of train": len(data.rows["train"]),
        "Sampler": sampler_name(config),
        "Batch": config.training.batch_size,
        "Seed": config.training.seed,
    }
    return [Facts(facts), *([Bullets(data.notes)] if data.notes else [])]
