"""What is drawn and how it comes: samplers that starve, batches without positives, empty epochs, slow data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from osler.doctor.case import Case
from osler.doctor.course import median
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Evidence, Lacking, Signs, figure
from osler.doctor.labels import Labels, measured_labels
from osler.doctor.prescribe import set_fact

__all__ = ["SAMPLING", "draws_as_the_data"]

# Positives in an epoch under which their places say nothing, and standard errors above a random order's empty batches.
FEWEST_POSITIVES, SORTED_Z = 10, 4.0
# Classes so rare that a sampler which balances draws them several times as often.
RARE = 0.2
EMPTY_WORDS = ("no finding", "no_finding", "nofinding", "normal", "negative", "none", "healthy", "no findings", "empty")


def sampler_starves_findings(case: Case) -> Signs | Lacking | None:
    """A sampler that draws fewer findings than the data hold, or the same few samples again and again."""
    drawn, labels = case.facts.get("prevalence.drawn"), case.natural or case.labels("val")
    repeats = _few_distinct(case)
    if repeats is not None:
        return repeats
    seen_labels = measured_labels(case.chart, "train")
    if case.balanced_sampler and seen_labels is not None and draws_as_the_data(case, seen_labels):
        return None if isinstance(samples_sorted(case), Signs) else _unbalanced(case, seen_labels)
    if drawn is None and case.balanced_sampler and seen_labels is not None:
        drawn = dict(zip(seen_labels.names, seen_labels.share.tolist(), strict=True))
    if drawn is None or labels is None:
        return Lacking(
            "prevalence.drawn: the share of each class, samples without any finding included, among what the sampler draws"
        )
    shares = dict(zip(labels.names, labels.share.tolist(), strict=True))
    pairs = (
        {str(name): (shares.get(str(name), math.nan), float(each)) for name, each in drawn.items()}
        if isinstance(drawn, Mapping)
        else {"": (labels.single, float(drawn) if isinstance(drawn, (int, float)) else math.nan)}
    )
    pairs = {name: pair for name, pair in pairs.items() if all(math.isfinite(each) for each in pair)}
    if not pairs:
        return Lacking("prevalence.drawn and prevalence.train for the same classes")
    empty = next((name for name in pairs if name.strip().lower() in EMPTY_WORDS), None)
    if empty is not None:
        natural, seen = 1 - pairs[empty][0], 1 - pairs[empty][1]
    else:
        natural, seen = (float(np.sum([pair[k] for pair in pairs.values()])) for k in (0, 1))
    n = case.facts.number("samples.train")
    error = math.sqrt(natural / n) if n > 0 else 0.0  # of a sum of rare counts over the samples of an epoch
    if seen >= 0.8 * natural or natural - seen < 3 * error:
        return None
    return _starved(case, natural, seen, empty, pairs)


def draws_as_the_data(case: Case, seen: Labels) -> bool:
    """Whether what a balancing sampler drew holds no more of the rare classes than the data themselves."""
    natural = case.natural
    if natural is None or len(natural.share) != len(seen.share) or not (natural.share < RARE).all() or not seen.n > 0:
        return False
    error = np.sqrt(natural.share / seen.n)
    return bool(((seen.share < 2 * natural.share + 4 * error) & (seen.share > natural.share - 3 * error)).all())


def _unbalanced(case: Case, seen: Labels) -> Signs:
    natural = case.natural
    assert natural is not None, "it was compared"
    k = int(np.argmax(natural.share))
    evidence = (
        Evidence(
            "train.prevalence", float(seen.share[k]), None, expected=0.5, basis=f"balanced; the data {natural.share[k]:.2%}"
        ),
    )
    text = (
        f"data.sampler is {case.facts.get('data.sampler')}, and {seen.share[k]:.2%} of what it draws is positive, as in the data "
        f"({natural.share[k]:.2%}): it does not balance."
    )
    changes = set_fact(case, "data.sampler", "none", "every sample once, until the sampler draws what it should")
    actions = (
        "count what 500 batches draw before training again",
        "check that weights are per sample, and handed to the sampler",
    )
    return Signs(text, evidence, "warning" if case.learned else "critical", 0.8, changes, actions)


def _starved(case: Case, natural: float, seen: float, empty: str | None, pairs: Mapping[str, tuple[float, float]]) -> Signs:
    batch = case.facts.number("training.batch_size")
    what = "samples with any finding" if empty is not None else "positives, over the classes"
    text = f"The sampler draws {seen:.2%} {what}; the data have {natural:.2%}."
    if empty is not None:
        text += f" {pairs[empty][1]:.0%} of what is drawn is {empty!r} ({pairs[empty][0]:.0%} unweighted)."
        if batch > 0:
            text += (
                f" A batch of {figure(batch)} holds {figure(seen * batch)} with a finding instead of {figure(natural * batch)}."
            )
    text += " A balance figure over the findings alone cannot see it."
    evidence = (Evidence("share of findings drawn", seen, None, expected=natural, basis="unweighted draw"),)
    changes = set_fact(
        case,
        "data.sampler",
        "none",
        "no sampler draws more findings than this one; Osler's balanced counts samples without a finding as a class",
    )
    actions = ("count everything that 500 batches draw, samples without a finding included, before training again",)
    return Signs(text, evidence, "critical" if seen < 0.5 * natural else "warning", 0.95, changes, actions)


def _few_distinct(case: Case) -> Signs | None:
    """The share of different samples that an epoch sees, against what drawing with replacement makes."""
    epochs, distinct, repeated = case.pair("sampling.distinct", "sampling.repeated")
    if not len(epochs):
        return None
    share = distinct / np.maximum(distinct + repeated, 1)
    if median(share) > 0.1 or float(distinct[-1] + repeated[-1]) < 100:
        return None
    evidence = (
        Evidence(
            "sampling.distinct",
            float(distinct[-1]),
            float(epochs[-1]),
            expected=float(0.63 * (distinct[-1] + repeated[-1])),
            basis="1 − 1/e of an even draw with replacement",
        ),
    )
    text = (
        f"An epoch of {figure(float(distinct[-1] + repeated[-1]))} draws sees {figure(float(distinct[-1]))} different samples: "
        "the sampler's weights are per class instead of per sample, or of other samples."
    )
    if case.facts.get("data.sampler") == "balanced":
        changes = set_fact(case, "data.sampler", "none", "every sample once, until the sampler draws what it should")
    else:
        changes = set_fact(case, "data.sampler", "balanced", "one weight a sample, 1 / frequency of its classes")
    actions = ("count what 500 batches draw, and how many of it are different samples, before training again",)
    return Signs(text, evidence, "warning" if case.learned else "critical", 0.85, changes, actions)


def batches_without_positives(case: Case) -> Signs | Lacking | None:
    """Many batches hold no positive of a class."""
    parts = case.chart.parts("sampling.batches_without_positives")
    if parts:
        shares = {part: median(case.chart.values(f"sampling.batches_without_positives[{part}]")) for part in parts}
    else:
        labels, batch = case.labels("train"), case.facts.number("training.batch_size")
        if labels is None or not batch > 0:
            return Lacking("sampling.batches_without_positives, or training.batch_size and prevalence.train")
        if case.balanced_sampler:
            return None
        shares = dict(zip(labels.names, ((1 - labels.share) ** batch).tolist(), strict=True))
    name, worst = max(shares.items(), key=lambda item: item[1])
    if not worst > 0.5:
        return None
    evidence = (Evidence(f"batches without {name or 'positives'}", worst, None, expected=0.2, basis="share of batches"),)
    text = (
        f"{worst:.0%} of the batches hold no positive{f' of {name}' if name else ''}: the gradient of that class comes in jumps."
    )
    changes = set_fact(
        case,
        "data.sampler",
        "balanced",
        "or larger batches, about 3 / prevalence, by training.accumulate; not together with weights in the loss",
    )
    return Signs(text, evidence, "note", 0.8, changes)


def samples_sorted(case: Case) -> Signs | Lacking | None:
    """Batches without positives in numbers that no random order makes."""
    labels, batch = measured_labels(case.chart, "train"), case.facts.number("training.batch_size")
    if labels is None or not batch > 0 or not labels.n > 0:
        return Lacking("sampling.batches_without_positives, training.batch_size and the prevalence of train by epoch")
    batches = math.ceil(labels.n / batch)
    for name, share in zip(labels.names, labels.share.tolist(), strict=True):
        epochs, without = case.chart.points(f"sampling.batches_without_positives{f'[{name}]' if name else ''}")
        if not len(epochs):
            continue
        # A class is held by enough batches to say something, and its absence is no rule.
        expected = (1 - share) ** batch
        # Orders of different epochs are different draws; one order for all of them is itself the fault.
        error = math.sqrt(max(expected * (1 - expected), 1.0 / batches) / (batches * min(len(epochs), 3)))
        if share * labels.n < FEWEST_POSITIVES or not median(without) > expected + SORTED_Z * error:
            continue
        seen = median(without)
        evidence = (
            Evidence(f"batches without {name or 'positives'}", seen, None, expected=expected, basis="(1 − prevalence)^batch"),
        )
        text = (
            f"{seen:.0%} of the batches hold no positive{f' of {name}' if name else ''}, where a random order leaves "
            f"{expected:.0%}: samples come in the order of their labels."
        )
        actions = ("shuffle the training samples anew in every epoch (shuffle=True, or a random sampler)",)
        return Signs(text, evidence, "critical", 0.9, (), actions, (float(epochs[0]),))
    return None if case.chart.parts("sampling.batches_without_positives") else Lacking("sampling.batches_without_positives")


def broken_epochs(case: Case) -> Signs | Lacking | None:
    """Every second epoch is empty: the generator of batches had run dry."""
    name = case.chart.first_of("train.loss", "train.accuracy", points=3)
    if name is None or len(case.chart) < 6:
        return Lacking("six epochs of the training loss")
    for name in ("train.loss", "train.accuracy", "train.auc"):
        if not case.chart.has(name, points=3):
            continue
        values = case.chart.values(name)
        empty = np.isnan(values) | (values == 0.0)
        alternate = np.zeros(len(values), dtype=bool)
        alternate[int(np.argmax(empty)) :: 2] = True
        if empty.sum() < 3 or (empty & alternate).sum() < 0.9 * empty.sum() or empty.sum() < 0.8 * alternate.sum():
            continue
        others = any(np.isfinite(series.values[empty]).any() for other, series in case.chart.series.items() if other != name)
        if np.isnan(values[empty]).all() and not others:
            continue
        first = float(case.chart.epochs[int(np.flatnonzero(empty)[0])])
        evidence = (Evidence(name, "empty", first, basis=f"{int(empty.sum())} of {len(values)} epochs"),)
        text = (
            f"{name} is empty or 0 in every second epoch from {figure(first)} on: the generator of batches had run dry, and "
            "those epochs trained nothing."
        )
        actions = ("leave steps_per_epoch to the data set, or repeat the generator, and count an epoch once",)
        return Signs(text, evidence, "warning", 0.85, (), actions, (first,))
    return None


def slow_data(case: Case) -> Signs | Lacking | None:
    """Training waits for its data."""
    if not case.chart.has("seconds.data", "seconds.epoch"):
        return Lacking("seconds.data and seconds.epoch")
    share = median(case.chart.values("seconds.data") / np.maximum(case.chart.values("seconds.epoch"), 1e-9))
    if not share > 0.4 or median(case.chart.values("seconds.epoch")) < 1.0:
        return None
    evidence = (Evidence("seconds.data / seconds.epoch", share, None, expected=0.05, basis="median of the epochs"),)
    text = f"{share:.0%} of an epoch goes into waiting for batches."
    return Signs(
        text, evidence, "note", 0.9, set_fact(case, "data.workers", "auto", "prepare images once, into the cache, with all cores")
    )


SAMPLING: dict[str, Fault] = {
    "sampler_starves_findings": Fault(
        id="sampler_starves_findings",
        name="The sampler starves the findings",
        family="sampling",
        level="cause",
        means="A sampler meant to balance draws fewer findings than the data hold, or a few samples over and over.",
        needs="prevalence.drawn and prevalence.train, with samples without any finding; or sampling.distinct by epoch",
        signature=sampler_starves_findings,
        severity="critical where less than half of the findings are left, else a warning",
        dose="data.sampler: none, until a count of everything drawn shows the balance",
        explains=(
            "chance_auc", "not_learning", "threshold_mismatch", "batches_without_positives", "single_class_prediction",
            "overfitting", "validation_differs", "shifted_splits", "accuracy_is_majority", "best_from_noise",
            "learning_rate_too_high", "learning_rate_too_low", "samples_sorted", "empty_masks", "low_overlap", "stuck_loss",
            "vanishing_gradients", "loss_at_zero", "late_collapse",
        ),
        lookalikes=(Lookalike("double_correction", "prevalence.drawn: findings are drawn too often, not too rarely"),),
        harmful=("a balance figure over the findings alone as a proof", "weights in the loss to make up for it"),
        source="counted on the table of a public set of chest films with fourteen findings",
    ),
    "batches_without_positives": Fault(
        id="batches_without_positives",
        name="Batches without positives",
        family="sampling",
        level="cause",
        means="More than half of the batches hold no positive of a class.",
        needs="sampling.batches_without_positives, or training.batch_size and prevalence.train",
        signature=batches_without_positives,
        severity="note: many healthy runs of rare classes have them",
        dose="data.sampler: balanced, or batches of about 3 / prevalence",
        lookalikes=(Lookalike("sampler_starves_findings", "prevalence.drawn is below the prevalence"),),
        harmful=("a sampler and weights in the loss at once",),
        source="(1 − π)^B",
    ),
    "broken_epochs": Fault(
        id="broken_epochs",
        name="Every second epoch is empty",
        family="sampling",
        level="cause",
        means="The generator of batches runs dry, and every second epoch trains nothing.",
        needs="six epochs of the training loss",
        signature=broken_epochs,
        severity="warning",
        dose="none: let the data set decide the steps of an epoch",
        lookalikes=(Lookalike("validation in every second epoch", "only validation columns are empty"),),
        harmful=("twice the epochs",),
        source="Keras: steps_per_epoch with a generator that is not repeated",
    ),
    "samples_sorted": Fault(
        id="samples_sorted",
        scope="classification",
        name="Samples come sorted",
        family="sampling",
        level="cause",
        means="Far more batches hold no positive than chance makes of the prevalence: samples come in the order of their labels.",
        needs="sampling.batches_without_positives, training.batch_size, and the prevalence of what is drawn",
        signature=samples_sorted,
        severity="critical",
        dose="none: shuffle the training samples, anew in every epoch",
        explains=(
            "batches_without_positives", "not_learning", "learning_rate_too_high", "gradients_accumulate", "chance_auc",
            "single_class_prediction", "alternating_prediction", "unstable_validation", "train_eval_gap", "stuck_loss",
            "best_from_noise", "validation_differs", "threshold_mismatch",
        ),
        lookalikes=(Lookalike("batches_without_positives", "as many of them as (1 − π)^B: the class is rare, no more"),),
        harmful=("a lower learning rate: each block still undoes what the one before it taught",),
        source="drawn at random, a batch of B holds no positive with probability (1 − π)^B; four standard errors above it",
    ),
    "slow_data": Fault(
        id="slow_data",
        name="Training waits for data",
        family="sampling",
        level="cause",
        means="A large part of each epoch goes into waiting for batches.",
        needs="seconds.data and seconds.epoch",
        signature=slow_data,
        severity="note",
        dose="the cache of prepared images, with all cores",
        lookalikes=(Lookalike("the first epoch only", "later epochs are fast: the cache was being filled"),),
        harmful=("a faster GPU",),
        source="share of the epoch",
    ),
}  # fmt: skip
