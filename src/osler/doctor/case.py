"""Case: a chart with what follows from it, worked out once: labels, floors, skill, intervals, one-sided predictions.

Rules ask a case, not the chart, so that each derives the same figure the same way. Whatever is not known is None or NaN;
nothing is guessed.
"""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.course import has_gained, median, noise
from osler.doctor.labels import ROUNDED, Labels, betrayed_labels, measured_labels, numbers_of, stated_labels
from osler.metrics.intervals import hanley_mcneil_se
from osler.metrics.proportion import normal_quantile
from osler.metrics.trend import CONSTANT_SD, Weighting, weight_from_probability, weight_in_force

if TYPE_CHECKING:
    from osler.metrics.floors import Floor
    from osler.metrics.weights import LabelCounts, LossSpec

__all__ = ["LOW_OVERLAP", "OVERLAP_TERMS", "SCORES", "USELESS", "Case"]

Floats = NDArray[np.float64]

# Words of a loss's name, in any order and joined by anything → the term of the loss.
LOSS_WORDS = {
    "bce": "bce", "bcewithlogits": "bce", "binary": "bce", "logloss": "bce", "cross": "cross_entropy", "ce": "cross_entropy",
    "crossentropy": "cross_entropy", "categorical": "cross_entropy", "focal": "focal", "dice": "dice", "tversky": "tversky",
    "jaccard": "iou", "iou": "iou", "lovasz": "iou", "nll": "cross_entropy",
}  # fmt: skip
# Osler's own sums of losses, and what they are made of.
SUMS = {"combined": ("bce", "dice", "focal"), "enhanced": ("bce", "focal", "dice", "tversky")}
OVERLAP_TERMS = frozenset({"dice", "tversky", "iou"})
# Words for a sampler that takes samples as they come.
UNBALANCED = ("none", "random", "shuffle", "sequential", "uniform", "default", "false", "no", "off")
OVERLAP_SCORES = ("dice", "iou")
SCORES = ("auc", "dice", "iou", "ap", "f1", "balanced_accuracy", "accuracy", "map50")
# An overlap score that stays below this has found next to nothing.
LOW_OVERLAP = 0.15
# Skill and AUC in training from which on something was learned there, be it by heart; below, it is hardly worth a look.
MATERIAL, FITTED_AUC = 0.1, 0.7
# A run that ended with fewer epochs after its warm-up has shown nothing; one that has gone on for so many has shown enough.
CUT_OFF, ENOUGH = 5, 10
# An AUC of so little over chance is no use; below it, "at chance" is not told from "barely above".
USELESS = 0.6


class Case:
    """A chart and what follows from it."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.facts = chart.facts
        self._labels: dict[str, Labels | None] = {}
        self._constants: dict[str, Floor | None] = {}

    # --- what kind of run it is ---------------------------------------------------------------------------------------------

    @cached_property
    def segmentation(self) -> bool:
        """Whether masks are predicted, as stated or by what is logged."""
        task = str(self.facts.get("task") or "").lower()
        if task:
            return "seg" in task or "mask" in task
        overlap = any(
            self.chart.has(f"{split}.{name}") for split in ("train", "val") for name in (*OVERLAP_SCORES, "foreground.predicted")
        )
        return overlap or bool(OVERLAP_TERMS & set(self.loss_terms))

    @cached_property
    def binary(self) -> bool:
        """Whether there is one class to be found in an image, as far as is known; figures of one class mean that class then."""
        task = str(self.facts.get("task") or "").lower()
        return not (self.segmentation or "multi" in task or len(self.classes) > 2)

    @cached_property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other, so that their probabilities add up to 1."""
        return "multiclass" in str(self.facts.get("task") or "").lower() or self.loss_terms == ("cross_entropy",)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty where unknown. A number of classes in the facts gives as many numbers."""
        count = self.facts.get("classes")
        return tuple(str(k) for k in range(count)) if isinstance(count, int) else self.chart.classes

    @cached_property
    def loss_terms(self) -> tuple[str, ...]:
        """Terms of the stated loss, such as ("bce", "dice"); empty where it is not stated."""
        if self.facts.get("loss.type") in SUMS:
            return SUMS[self.facts["loss.type"]]
        words = re.findall(
            r"[a-z]+",
            str(self.facts.get("loss.type") or "").lower().replace("cross_entropy", "crossentropy").replace("loss", " "),
        )
        terms = tuple(dict.fromkeys(LOSS_WORDS[word] for word in words if word in LOSS_WORDS))
        return tuple(term for term in terms if term != "cross_entropy") if "bce" in terms else terms

    @cached_property
    def planned(self) -> float:
        """Epochs planned; NaN where not stated."""
        return self.facts.number("training.epochs")

    @cached_property
    def warmup(self) -> float:
        """Epochs of warm-up; 0 where none is stated or logged."""
        stated = self.facts.number("training.warmup_epochs")
        if math.isfinite(stated):
            return stated
        warming = self.chart.values("warming_up")
        return float(np.nansum(warming)) if self.chart.has("warming_up") else 0.0

    @cached_property
    def settled(self) -> NDArray[np.bool_]:
        """(E,) epochs after the warm-up."""
        return np.asarray(self.chart.ordinals > self.warmup)

    @cached_property
    def early(self) -> bool:
        """Whether so little of the plan was run that a network which has not learned yet may be about to.

        The first score above chance comes anywhere in the first half of a healthy run, so what is not there by then is
        missing, as is what is not there after ten epochs of a long plan. A run that has ended, or a log of which nobody says
        that it goes on, is judged as it stands unless it was cut off in its first epochs.
        """
        seen = float(self.settled.sum())
        under_way = self.chart.reader == "osler" and "stop_reason" not in self.facts
        return seen < min(0.5 * (self.planned - self.warmup), ENOUGH) and (under_way or seen < CUT_OFF)

    @cached_property
    def step_size(self) -> float:
        """Median of what a step changes of the weights' norm, over the epochs at half of the peak rate or more; NaN: unknown."""
        rates = self.chart.values("learning_rate")
        peak = float(np.nanmax(rates)) if np.isfinite(rates).any() else math.nan
        full = self.settled & (np.isnan(rates) | (rates >= 0.5 * peak) if peak > 0 else True)
        return median(self.chart.values("update_ratio.median")[full])

    @cached_property
    def steps(self) -> float:
        """Optimiser steps of the whole plan, else those that were done; NaN where not known."""
        each, done = self.facts.number("training.steps_per_epoch"), self.chart.points("step")[1]
        planned = each * (self.planned if math.isfinite(self.planned) else float(len(self.chart)))
        return planned if math.isfinite(planned) else float(done[-1]) if len(done) else math.nan

    # --- series -------------------------------------------------------------------------------------------------------------

    def score(self, split: str, points: int = 1) -> str | None:
        """The split's most telling score that has so many figures: its series' name."""
        return self.chart.first_of(*(f"{split}.{name}" for name in SCORES), points=points)

    def pair(self, first: str, second: str) -> tuple[Floats, Floats, Floats]:
        """The epochs at which two series are both finite, and their figures there; each (n,)."""
        one, other = self.chart.values(first), self.chart.values(second)
        rows = np.isfinite(one) & np.isfinite(other)
        return self.chart.epochs[rows], one[rows], other[rows]

    def sides(self, split: str, part: str = "") -> Floats:
        """(E,) 1 where all samples are called positive, −1 where none is, 0 where some are, NaN where the log does not say."""
        suffix = f"[{part}]" if part else ""
        rate, recall, specificity, precision, accuracy = (
            self.chart.values(f"{split}.{name}{suffix}")
            for name in ("positive_rate", "recall", "specificity", "precision", "accuracy")
        )
        sides = np.where(np.isnan(rate), np.nan, np.where(rate >= 1.0, 1.0, np.where(rate <= 0.0, -1.0, 0.0)))
        if not self.binary and not part:
            return np.full(len(self.chart), np.nan) if len(self.classes) != 1 else sides
        with np.errstate(invalid="ignore"):
            unspecific = (specificity == 0.0) | (np.isnan(specificity) & (np.abs(accuracy - precision) <= ROUNDED))
            found_none = (recall == 0.0) & ~(precision > 0.0) & ((specificity == 1.0) | np.isnan(specificity))
            by_recall = np.where(
                np.isnan(recall), np.nan, np.where((recall == 1.0) & unspecific, 1.0, np.where(found_none, -1.0, 0.0))
            )
        return np.where(np.isnan(sides), by_recall, sides)

    # --- labels -------------------------------------------------------------------------------------------------------------

    def labels(self, split: str) -> Labels | None:
        """The labels of a split, from what was measured, else stated, else what one-sided epochs betray; None where unknown."""
        if split not in self._labels:
            stated = stated_labels(self.chart, split, self.classes)
            self._labels[split] = measured_labels(self.chart, split) or stated or self._betrayed(split)
        return self._labels[split]

    @cached_property
    def natural(self) -> Labels | None:
        """The training labels as the data hold them; what a sampler draws of them is another share, and no help here."""
        if not self.balanced_sampler and "prevalence.drawn" not in self.facts:
            return self.labels("train")
        return stated_labels(self.chart, "train", self.classes)

    def seen_labels(self, split: str) -> Labels | None:
        """The labels as the run's own figures show them, whatever is stated."""
        return measured_labels(self.chart, split) or self._betrayed(split)

    def _betrayed(self, split: str) -> Labels | None:
        return betrayed_labels(self.chart, split) if self.binary else None

    @cached_property
    def balanced_sampler(self) -> bool:
        """Whether the facts state a sampler that draws classes evenly, or means to."""
        stated = self.facts.get("data.sampler")
        return bool(stated) and str(stated).strip().lower() not in UNBALANCED

    # --- the loss and its floor ---------------------------------------------------------------------------------------------

    @cached_property
    def weighting(self) -> Weighting | None:
        """The positive weight that the losses betray; None where nothing can be told, which is most often."""
        for split in ("val", "train"):
            labels = self.labels(split)
            if labels is None or not math.isfinite(labels.single) or set(self.loss_terms) - {"bce"}:
                continue
            losses, sides = self.chart.values(f"{split}.loss"), self.sides(split)
            found = weight_in_force(losses, np.where(sides == 0, np.nan, (sides + 1) / 2), labels.single)
            if found.reason is not None:
                found = self._weight_by_probability(split, labels.single)
            if found.reason is None:
                return found
        return None

    def _weight_by_probability(self, split: str, prevalence: float) -> Weighting:
        losses, means = self.chart.values(f"{split}.loss"), self.chart.values(f"{split}.probability.mean")
        spread = (self.chart.values(f"{split}.logit.p95") - self.chart.values(f"{split}.logit.p5")) / 3.29
        # A constant further out than this is no constant that a loss could tell a weight by.
        constant = (np.abs(means - 0.5) < 0.4999) & (spread >= 0.0) & (spread <= CONSTANT_SD)
        rows = np.flatnonzero(np.isfinite(losses) & constant)
        found = Weighting(math.nan, math.nan, math.nan, "", "no mean probability of a constant prediction is logged")
        for row in rows:
            found = weight_from_probability(float(losses[row]), float(means[row]), float(spread[row]), prevalence)
            if found.reason is None:
                break
        return found

    @cached_property
    def loss_spec(self) -> LossSpec | None:
        """The loss as it works: stated, with the weight in force where the losses betray another one; None where not known."""
        from osler.metrics.weights import LossSpec  # imports the configuration, which most diagnoses can spare

        if len(self.loss_terms) != 1 or self.loss_terms[0] not in ("bce", "focal", "cross_entropy"):
            return (
                LossSpec("bce", np.array([self.weighting.value])) if self.weighting is not None and not self.loss_terms else None
            )
        numbers = {
            key: numbers_of(self.facts.get(f"loss.{key}"), self.classes) for key in ("pos_weight", "class_weights", "alpha")
        }
        if any(value is None and self.facts.get(f"loss.{key}") is not None for key, value in numbers.items()):
            return None  # "auto", and nobody says what it came to
        if self.weighting is not None:
            numbers["pos_weight"] = np.array([self.weighting.value])
        gamma, smoothing = self.facts.number("loss.gamma"), self.facts.number("loss.label_smoothing")
        kind = self.loss_terms[0]
        if kind == "focal" and not math.isfinite(gamma):
            return None
        return LossSpec(
            type="bce" if kind == "bce" else "focal" if kind == "focal" else "cross_entropy",
            pos_weight=numbers["pos_weight"] if kind == "bce" else None,
            class_weights=numbers["class_weights"] if kind == "cross_entropy" else None,
            alpha=numbers["alpha"] if kind == "focal" else None,
            gamma=gamma if kind == "focal" else 0.0,
            label_smoothing=0.0 if math.isnan(smoothing) else smoothing,
        )

    def counts(self, split: str) -> LabelCounts | None:
        """Label counts of a split, or shares in their place where the number of samples is not known."""
        labels = self.labels(split)
        if labels is None or not np.isfinite(labels.share).all():
            return None
        from osler.metrics.weights import LabelCounts

        n = labels.n if labels.n > 0 else 1.0
        kind = "binary" if len(labels.share) == 1 else "multiclass" if self.loss_terms == ("cross_entropy",) else "multilabel"
        return LabelCounts(kind, labels.share * n, (1.0 - labels.share) * n)  # type: ignore[arg-type]

    def floor(self, split: str) -> float:
        """The loss of the best constant prediction: as logged, else computed from loss and labels; NaN where neither is known."""
        logged = self.chart.points(f"{split}.floor")[1]
        if len(logged):
            return float(logged[-1])
        constant = self.constant(split)
        return math.nan if constant is None else constant.loss

    def at_half(self, split: str) -> float:
        """The loss where every probability is a half, as fresh outputs start; NaN where labels or loss are unknown."""
        constant = self.constant(split)
        return math.nan if constant is None else constant.loss_at_half

    def constant(self, split: str) -> Floor | None:
        """The best constant prediction under the loss in force; None where labels or loss are unknown."""
        if split not in self._constants:
            counts = self.counts(split)
            spec = self.loss_spec if counts is not None else None
            fits = counts is not None and spec is not None and _fits(spec, len(counts.positives))
            from osler.metrics.floors import floor

            self._constants[split] = floor(spec, counts) if fits and spec is not None and counts is not None else None
        return self._constants[split]

    def skill(self, split: str) -> Floats:
        """(E,) 1 − loss / floor; NaN where either is unknown."""
        if self.chart.has(f"{split}.skill"):
            return self.chart.values(f"{split}.skill")
        least = self.floor(split)
        return 1.0 - self.chart.values(f"{split}.loss") / least if least > 1e-3 else np.full(len(self.chart), np.nan)

    # --- ranking ------------------------------------------------------------------------------------------------------------

    def null_error(self, split: str, part: str = "") -> float:
        """Standard error of an AUC of 0.5 on a split's labels; of the macro mean of several classes, taken as independent."""
        labels = self.labels(split)
        if labels is None or not labels.n > 0:
            return math.nan
        share = labels.share[[labels.names.index(part)]] if part in labels.names and part else labels.share
        errors = hanley_mcneil_se(np.full(share.shape, 0.5), share * labels.n, (1.0 - share) * labels.n)
        errors = errors[np.isfinite(errors) & (errors > 0.0)]
        return float(np.sqrt((errors**2).sum())) / len(errors) if len(errors) else math.nan

    def auc_ends(self, split: str) -> tuple[Floats, Floats]:
        """(E,) ends of each AUC's 95 % interval by Hanley and McNeil; NaN where the counts are not known."""
        values = self.chart.values(f"{split}.auc")
        labels = self.labels(split)
        if labels is None or not labels.n > 0:
            nothing = np.full(values.shape, np.nan)
            return nothing, nothing
        if len(labels.share) == 1:
            error = hanley_mcneil_se(np.clip(values, 0.0, 1.0), labels.single * labels.n, (1.0 - labels.single) * labels.n)
        else:
            error = np.full(values.shape, self.null_error(split))
        return np.clip(values - 1.96 * error, 0.0, 1.0), np.clip(values + 1.96 * error, 0.0, 1.0)

    def above_chance(self, split: str) -> bool:
        """Whether a split's AUC is above 0.5, with allowance for the number of epochs among which the best was picked."""
        values = self.chart.points(f"{split}.auc")[1]
        if not len(values):
            return False
        error = self.null_error(split)
        if math.isfinite(error):
            return bool((float(values.max()) - 0.5) > normal_quantile(1.0 - 0.05 / len(values)) * error)
        tail = values[-max(3, len(values) // 3) :]
        return bool(len(values) >= 3 and tail.mean() > USELESS and tail.min() > 0.5)

    # --- whether anything was learned ---------------------------------------------------------------------------------------

    @cached_property
    def learned(self) -> bool:
        """Whether any validation figure (training, where there is none) proves that something was learned."""
        return self.learned_on("val" if any(self.chart.has(f"val.{name}") for name in ("loss", *SCORES)) else "train")

    def learned_on(self, split: str) -> bool:
        """Whether a figure of this split proves that something was learned."""
        return self.above_chance(split) or self._skilled(split) or self._improved(split)

    @cached_property
    def fitted(self) -> bool:
        """Whether training figures show more than samples learned by heart do: that alone lifts an AUC a little over chance."""
        skill, auc = self.skill("train"), self.chart.points("train.auc")[1]
        if np.isfinite(skill).any() and float(np.nanmax(skill)) > MATERIAL:
            return True
        if len(auc):
            return self.above_chance("train") and float(auc.max()) > FITTED_AUC
        return not np.isfinite(skill).any() and self.learned_on("train")

    def _skilled(self, split: str) -> bool:
        skill = self.skill(split)
        known = np.isfinite(skill)
        if not known.any():
            return False
        error = self.chart.values(f"{split}.loss.se") / max(self.floor(split), 1e-9) if math.isfinite(self.floor(split)) else None
        margin = np.where(np.isfinite(error), 1.96 * error, 0.05) if error is not None else np.full(skill.shape, 0.05)
        return bool((skill[known] > np.maximum(margin[known], 0.02)).any())

    def _improved(self, split: str) -> bool:
        """Whether a score or the loss moved to the better beyond its own noise, and stayed there."""
        scores = [f"{split}.{each}" for each in SCORES if each != "auc" and self.chart.has(f"{split}.{each}", points=3)]
        asked = [name for name in scores if name.endswith(OVERLAP_SCORES)] or scores[:1]  # one class's Dice may be not the mean's
        risen = [values for epochs, values in map(self.chart.points, asked) if has_gained(values, epochs)]
        if risen:
            return not all(map(self._only_majority, risen))
        losses = self.chart.points(f"{split}.loss")[1]
        if len(losses) < 4 or math.isfinite(self.floor(split)):
            return False
        fall = float(losses[0] - losses[-max(2, len(losses) // 4) :].mean())
        return fall > 0.1 * abs(float(losses[0])) and fall > 3.0 * noise(losses)

    def _only_majority(self, values: Floats) -> bool:
        """An accuracy that rose to one figure and stays there to all digits has found the majority, nothing more."""
        tail = values[len(values) // 3 :]
        return len(tail) >= 4 and float(np.ptp(tail)) == 0.0


def _fits(spec: LossSpec, classes: int) -> bool:
    """Whether the loss's parameters have as many values as there are classes, or one for all."""
    return all(each is None or len(each) in (1, classes) for each in (spec.pos_weight, spec.class_weights, spec.alpha))
