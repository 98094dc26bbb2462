"""Terms of a loss: one that leaves the others no say."""

from __future__ import annotations

import numpy as np

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure

__all__ = ["TERMS"]

FEWEST_EPOCHS = 3
# A loss that is summed over samples, beside parts that are means, is as many times as large as there are samples.
OUTWEIGHS = 1e6


def term_outweighs(case: Case) -> Signs | Lacking | None:
    """A training loss that is a million times the sum of its logged parts: a term not logged, or its weight, makes nearly all."""
    parts = case.chart.parts("train.loss")
    lacking = Lacking("three epochs of the training loss and of its parts")
    if not parts:
        return lacking
    total = case.chart.values("train.loss")
    known = np.sum([np.abs(case.chart.values(f"train.loss[{part}]")) for part in parts], axis=0)
    rows = np.flatnonzero(np.isfinite(total + known) & (known > 0))
    if len(rows) < FEWEST_EPOCHS:
        return lacking
    ratio = total[rows] / known[rows]
    least = int(ratio.argmin())
    if ratio[least] < OUTWEIGHS:
        return None
    value, expected, epoch = float(total[rows[least]]), float(known[rows[least]]), float(case.chart.epochs[rows[least]])
    text = (
        f"train.loss is {figure(value)}, and the parts of it that are logged ({', '.join(parts[:4])}) make {figure(expected)}: a "
        f"term outweighs them {figure(float(ratio[least]))} times, and what they are to teach is lost in rounding."
    )
    evidence = (Evidence("train.loss", value, epoch, expected=expected, basis="sum of its logged parts"),)
    actions = (
        "print every term times its weight in the first epoch, and choose weights that make them of one size",
        "check that no term is divided by a share that may be near zero",
    )
    return Signs(text, evidence, "warning", 0.75, (), actions, (float(case.chart.epochs[rows[0]]),))


TERMS: dict[str, Fault] = {
    "term_outweighs": Fault(
        id="term_outweighs",
        name="One term of the loss outweighs the rest",
        family="terms",
        level="cause",
        means="The loss is a million times the sum of its logged parts: one that is not among them, or its weight, is all of it.",
        needs="three epochs of the training loss and of its parts",
        signature=term_outweighs,
        severity="warning",
        dose="none: weights of the terms that make them of one size in the first epoch",
        explains=("learning_rate_too_high", "diverging_loss", "exploding_gradients"),
        lookalikes=(
            Lookalike("a sum over samples", "the ratio is the number of samples, at most some hundred thousand"),
            Lookalike("exploding_gradients", "the loss began small and grew"),
        ),
        harmful=("a lower learning rate alone: the small terms are as lost at any rate",),
        source="float32 keeps seven digits: a term a ten-millionth of the loss leaves no trace in its gradient's direction",
    ),
}
