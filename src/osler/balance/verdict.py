"""The verdict on a draw, in words, the gravest first: what is drowned, what is starved, what is corrected twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.balance.odds import ClassOdds, Odds
from osler.balance.proof import ClassDraw, Proof
from osler.config import Config
from osler.data.balance import NO_FINDING
from osler.report.page import Tone

__all__ = ["Statement", "judge", "number", "percent"]

STARVED = 0.8
"""Findings, or a rare class, drawn less often than this part of what the samples hold are starved."""
TOO_LARGE = 3.0
"""Odds in force further than this from fair are too large; the doctor's own limit."""
CORRECTS = 1.5
"""A factor beyond this, either way, corrects."""
MOSTLY_NONE = 0.55
"""A draw that has no finding more often than this has more of it than half and half would be."""
MANY_TIMES = 10.0
MOSTLY_EMPTY = 0.5
TONES: tuple[Tone, ...] = ("critical", "warning", "good", "note")


@dataclass(frozen=True)
class Statement:
    """One thing to know of a draw.

    Attributes:
        id: what kind of thing it is; stable.
        tone: how grave: critical, warning, note, or good.
        text: whole sentences.
    """

    id: str
    tone: Tone
    text: str


def judge(config: Config, proof: Proof, odds: Odds) -> list[Statement]:
    """What is to be said, the gravest first; never empty."""
    found = [
        _drowned(config, proof),
        _never_none(proof),
        _not_as_said(proof),
        _starved(proof),
        *_corrections(odds),
        _without_positives(proof),
        _repeated(proof),
    ]
    statements = [statement for statement in found if statement is not None]
    if all(statement.tone == "note" for statement in statements):
        statements.append(_fine(config, proof))
    return sorted(statements, key=lambda statement: TONES.index(statement.tone))


# --- what is drawn ----------------------------------------------------------------------------------------------------------


def _drowned(config: Config, proof: Proof) -> Statement | None:
    """Samples without any finding crowd out the rest, which no figure over the labels shows."""
    none = proof.none
    if none is None or none.expected <= MOSTLY_NONE:
        return None
    some, natural = 1 - none.expected, 1 - none.natural
    if not some < STARVED * natural:
        return None
    size, spread = proof.batch_size, proof.variation
    what = ("has no finding", "with any finding") if none.name == NO_FINDING else (f"is {none.name}", "others")
    text = (
        f"{percent(none.drawn)} of what is drawn {what[0]} ({percent(none.natural)} of the samples): a batch of {size} holds "
        f"{number(size * (1 - none.drawn))} {what[1]} instead of {number(size * natural)}."
    )
    if proof.variation_all is not None and spread.over > 1:
        blind = "looks fine and cannot show it" if spread.expected < spread.natural else "cannot show it"
        text += (
            f" The balance over the {spread.over} labels alone {blind}: CV {spread.drawn:.2f}, {spread.natural:.2f} unweighted."
        )
    weight = config.data.no_finding_weight
    if weight:
        as_they_are = weight * none.natural / natural * some / none.expected
        text += (
            f" data.no_finding_weight {weight:g} stands beside class weights that are far smaller: {as_they_are:.2g} would draw "
            "them as often as they occur; null counts them as one class more."
        )
    return Statement("findings_drowned", "critical" if some < 0.5 * natural else "warning", text)


def _never_none(proof: Proof) -> Statement | None:
    """Samples without any finding are hardly drawn at all."""
    none = proof.none
    if none is None or none.natural < 0.05 or none.expected >= min(0.5 / len(proof.classes), 0.5 * none.natural):
        return None
    what = "What has no finding" if none.name == NO_FINDING else none.name
    often = "is never drawn" if none.expected == 0 else f"is {percent(none.expected)} of what is drawn"
    text = (
        f"{what} {often}, and {percent(none.natural)} of the samples: a model that rarely sees none calls findings everywhere. "
        "Set data.no_finding_weight to null, or data.sampler to balanced."
    )
    return Statement("no_finding_starved", "critical" if none.expected == 0 else "warning", text)


def _not_as_said(proof: Proof) -> Statement | None:
    far = [one for one in proof.classes if one.far]
    if not far:
        return None
    said = "; ".join(f"{one.name} {percent(one.drawn)} instead of {percent(one.expected)}" for one in far[:3])
    return Statement(
        "not_as_weighted", "critical", f"The loader does not draw what the weights say: {said}. No chance explains that."
    )


def _starved(proof: Proof) -> Statement | None:
    """Rare classes that the draw makes rarer."""
    even, labels = 1 / len(proof.classes), proof.classes[: proof.labels]
    rare = [one for one in labels if one.natural <= even and one.expected < STARVED * one.natural]
    if not rare:
        return None
    worst = min(rare, key=lambda one: one.expected / one.natural)
    who = f"{worst.name} is rare, and" if len(rare) == 1 else f"{len(rare)} of {proof.labels} classes are rare, and"
    text = (
        f"{who} drawn even less often than in the samples: {worst.name} {percent(worst.expected)} instead of "
        f"{percent(worst.natural)}."
    )
    return Statement("rare_starved", "critical" if worst.expected < 0.5 * worst.natural else "warning", text)


def _without_positives(proof: Proof) -> Statement | None:
    empty = [one for one in proof.classes[: proof.labels] if one.batches_without > MOSTLY_EMPTY]
    if not empty:
        return None
    worst = max(empty, key=lambda one: one.batches_without)
    text = f"More than half of the batches of {proof.batch_size} hold none of {_names(empty)}"
    text += f" ({worst.name}: {percent(worst.batches_without)})." if len(empty) > 1 else f": {percent(worst.batches_without)}."
    return Statement("batches_without_positives", "note", text + " The gradient of such a class comes in jumps.")


def _repeated(proof: Proof) -> Statement | None:
    often = [one for one in proof.classes if one.times > MANY_TIMES]
    if not often:
        return None
    worst = max(often, key=lambda one: one.times)
    more = f", and those of {len(often) - 1} more classes over {MANY_TIMES:.0f} times" if len(often) > 1 else ""
    text = (
        f"Each of the {worst.samples:,} samples of {worst.name} is drawn {number(worst.times)} times an epoch{more}; an epoch "
        f"sees {percent(proof.epoch_share)} of all samples. Such samples are soon known by heart."
    )
    return Statement("repeated_often", "note", text)


def _fine(config: Config, proof: Proof) -> Statement:
    spread, none = proof.variation, proof.none
    even = "" if spread.over < 2 else f"; CV over {spread.over} classes {spread.drawn:.2f}"
    counted = "" if none is None else f", {percent(none.drawn)} of it {none.name.strip('()')}"
    if config.data.sampler == "none":
        rarest = min(proof.classes, key=lambda one: one.natural)
        text = (
            f"Every sample is drawn once an epoch, as it occurs{counted}{even}; the rarest, {rarest.name}, "
            f"is {percent(rarest.drawn)}."
        )
        return Statement("unweighted", "good", text)
    text = f"What is drawn is what the weights say{counted}{even}"
    return Statement("as_weighted", "good", text + (f", {spread.natural:.2f} unweighted." if spread.over > 1 else "."))


# --- sampler and loss together ----------------------------------------------------------------------------------------------


def _corrections(odds: Odds) -> list[Statement]:
    """What sampler and loss do to the odds between them."""
    key = f"loss.{odds.key}"
    both = [one for one in odds.classes if one.sampler > CORRECTS and one.loss > CORRECTS]
    over = [one for one in odds.classes if one.in_force > TOO_LARGE * odds.fair and one.sampler * one.loss > CORRECTS]
    down = [one for one in odds.classes if one.loss < 1 / CORRECTS and one.in_force < one.natural / TOO_LARGE]
    # What the second correction carries past fair was there already.
    twice = [one for one in both if one.in_force > 1.05 * odds.fair]
    found: list[Statement | None] = []
    if twice:
        without = "" if odds.auto else " or auto (which counts what is drawn)"
        other = "whole images" if odds.unit == "pixels" else "data.sampler: none"
        text = (
            f"Imbalance is corrected twice, by the {_first(odds)} and by {key}, in {_names(twice)}. "
            f"{_price(_worst(twice), odds)} Keep one: {key}: null{without}, or {other}."
        )
        gravest = max(one.in_force for one in [*twice, *over]) > TOO_LARGE**2 * odds.fair
        found.append(Statement("corrected_twice", "critical" if gravest else "warning", text))
    elif both:
        text = f"The {_first(odds)} and {key} both correct, and share the work. {_price(_worst(both), odds)}"
        found.append(Statement("corrected_by_both", "note", text))
    if over and not twice:
        which = key if _worst(over).loss > CORRECTS else f"The {_first(odds)}"
        found.append(Statement("overcorrected", "warning", f"{which} overshoots in {_names(over)}. {_price(_worst(over), odds)}"))
    if down:
        worst = min(down, key=lambda one: one.loss)
        text = f"{key} holds the positives down in {_names(down)}. {_price(worst, odds)}"
        found.append(Statement("held_down", "warning", text))
    return [one for one in found if one is not None]


def _first(odds: Odds) -> str:
    """What corrects before the loss does."""
    return "patches" if odds.unit == "pixels" else "sampler"


def _worst(classes: Sequence[ClassOdds]) -> ClassOdds:
    return max(classes, key=lambda one: one.in_force)


def _price(one: ClassOdds, odds: Odds) -> str:
    """One class's odds step by step, and what they cost."""
    fair = "" if odds.fair == 1 else f" (fair: {number(odds.fair)})"
    true = one.natural / (1 + one.natural) if np.isfinite(one.natural) else 1.0
    return (
        f"{one.name}: odds {number(one.natural)} in the {odds.unit} × {number(one.sampler)} by the {_first(odds)} × "
        f"{number(one.loss)} by the loss = {number(one.in_force)} in force{fair}. A model that knows nothing answers "
        f"{percent(one.share)} where {percent(true)} is true, {number(abs(one.shift))} logits too "
        f"{'high' if one.shift > 0 else 'low'}."
    )


# --- words ------------------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Two or three digits, as a person would say it.

    >>> number(0.5741), number(14.77), number(3.0), number(0.0021), number(3100.0), number(float("nan"))
    ('0.57', '14.8', '3', '0.0021', '3,100', '–')
    """
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.995 else f"{value:.2g}"


def percent(share: float) -> str:
    """A share in percent, with more digits the smaller it is.

    >>> percent(0.538), percent(0.0193), percent(0.00042), percent(0.0), percent(0.9995)
    ('54 %', '1.9 %', '0.042 %', '0 %', '99.95 %')
    """
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f} %"
    if value > 99:
        return f"{value:.4g} %"
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"


def _names(classes: Sequence[ClassDraw] | Sequence[ClassOdds]) -> str:
    names = [one.name for one in classes]
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
