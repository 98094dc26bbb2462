"""The report of a draw for a terminal: the verdict, then a row a class."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from osler.balance.masks import MaskBalance
from osler.balance.odds import Odds
from osler.balance.proof import Proof, Variation
from osler.balance.verdict import Statement, number, percent
from osler.config import Config

__all__ = ["balance_text", "sampler_name", "spread_text", "totals"]

WIDTH = 110


def balance_text(config: Config, proof: Proof, odds: Odds, verdict: Sequence[Statement], masks: MaskBalance | None) -> str:
    """The verdict, the gravest first; the figures of every class; and what was counted."""
    lines = []
    for statement in verdict:
        head = "" if statement.tone == "good" else f"{statement.tone.upper()}: "
        lines += [*wrapped(head + statement.text), ""]
    lines += [f"Sampler {sampler_name(config)}; {totals(proof)}", "", *_table(proof, odds), ""]
    lines.append(f"CV over {spread_text(proof.variation)}")
    if proof.variation_all is not None:
        lines.append(f"CV over {spread_text(proof.variation_all)}, {proof.classes[-1].name} counted")
    if masks is not None:
        lines += ["", *_mask_lines(masks, odds)]
    return "\n".join(lines)


def wrapped(text: str) -> list[str]:
    """Lines of a statement; no number is parted from its percent sign.

    >>> wrapped("x" * 107 + " 98 %")[1]
    '  98 %'
    """
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), WIDTH, subsequent_indent="  ")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def sampler_name(config: Config) -> str:
    """The sampler with what it reads.

    >>> from osler.config import load_config
    >>> sampler_name(load_config({"data": {"sampler": "inverse", "no_finding_weight": 0.01}}))
    'inverse (mean, no_finding_weight 0.01)'
    """
    settings = config.data
    said: list[str] = []
    if settings.sampler not in ("none", "balanced"):
        said.append(settings.sampler_reduce)
    if settings.sampler == "effective_number":
        said.append(f"beta {settings.sampler_beta:g}")
    if settings.no_finding_weight is not None:
        said.append(f"no_finding_weight {settings.no_finding_weight:g}")
    return settings.sampler + (f" ({', '.join(said)})" if said else "")


def totals(proof: Proof) -> str:
    """What was drawn, in a sentence."""
    return (
        f"{proof.batches:,} batches of {proof.batch_size}: {proof.draws:,} draws of {proof.distinct:,} different samples, "
        f"{proof.repeats:,} of them repeats (most often: {proof.most_id}, {proof.most} times)."
        + (f" Of {percent(proof.unknown)} of what is drawn no label is known." if proof.unknown else "")
    )


def spread_text(spread: Variation) -> str:
    """A coefficient of variation beside what was to be expected."""
    return (
        f"{spread.over} classes: {spread.drawn:.3f} drawn, {spread.expected:.3f} by the weights ({spread.low:.3f} to "
        f"{spread.high:.3f} in so many draws), {spread.natural:.3f} unweighted"
    )


def _table(proof: Proof, odds: Odds) -> list[str]:
    head = [
        "class",
        "samples",
        "unweighted",
        "by weights",
        "drawn",
        "95 % interval",
        "× an epoch",
        "batches without",
        "odds in force",
    ]
    in_force = {one.name: number(one.in_force) for one in odds.classes}
    rows = [
        [
            one.name,
            f"{one.samples:,}",
            percent(one.natural),
            percent(one.expected),
            percent(one.drawn),
            f"{percent(one.low)} to {percent(one.high)}",
            number(one.times),
            percent(one.batches_without),
            in_force.get(one.name, ""),
        ]
        for one in proof.classes
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]


def _mask_lines(masks: MaskBalance, odds: Odds) -> list[str]:
    lines = [f"Pixels of {masks.images:,} masks of train" + (f", and of {masks.patches:,} patches:" if masks.patches else ":")]
    for k, one in enumerate(odds.classes):
        text = f"  {one.name}: {percent(masks.shares[k])} of the pixels"
        if math.isfinite(masks.median[k]):
            text += f" (median of images that have it {percent(masks.median[k])})"
        if masks.patches:
            text += f"; {percent(masks.drawn_shares[k])} in patches, of which {percent(masks.patches_with[k])} hold some"
        lines.append(f"{text}; odds in force {number(one.in_force)}")
    if masks.patches:
        lines.append(f"  {percent(masks.any_foreground)} of the patches hold foreground.")
    return lines
