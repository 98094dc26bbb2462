"""Imbalance corrected in the wrong place or twice: sampler and weights together, focal alpha and gamma, the output bias."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.findings import Change, Evidence, Lacking, Severity, Signs, figure
from osler.doctor.labels import numbers_of
from osler.doctor.prescribe import set_fact, two_digits

__all__ = ["IMBALANCE"]

TOO_LARGE = 3.0
# Between 0.5 and 5 the source finds little difference at first, and a loss from 2 on; a note above 3, a warning above 5.
HIGH_GAMMA, HIGHEST_GAMMA = 3.0, 5.0
# So many times the loss of the best constant and of outputs at 0.5: fresh outputs cost a half more at most.
FAR_START = 1.5


def double_correction(case: Case) -> Signs | Lacking | None:
    """A balancing sampler and weights in the loss at once."""
    if "data.sampler" not in case.facts and "prevalence.drawn" not in case.facts:
        return Lacking("data.sampler, and the weights of the loss")
    if not case.balanced_sampler:
        return None
    found = _weighting_on(case)
    if found is None:
        return None
    key, before, odds = found
    text = f"data.sampler is {case.facts.get('data.sampler')!r} and {key} is {_short(before)}: the imbalance is corrected twice"
    evidence = [
        Evidence(
            key,
            _short(before),
            None,
            expected="1" if key == "loss.pos_weight" else "none",
            basis="what a balancing sampler leaves to correct",
        )
    ]
    if math.isfinite(odds):
        text += f", and the odds of a positive come to {figure(odds)} instead of 1"
        evidence.append(
            Evidence("odds of a positive as drawn and weighted", odds, None, expected=1.0, basis="drawn odds × weight")
        )
    why = "keep one correction: with a balancing sampler the loss needs no weights"
    changes = set_fact(case, key, None, why)
    actions = ("if the weights are to stay, set data.sampler: none instead, and compare both with plain BCE by AP",)
    return Signs(text + ".", tuple(evidence), "warning", 0.85, changes, actions)


def _weighting_on(case: Case) -> tuple[str, object, float] | None:
    """The weighting of the loss beside a sampler: its key, its value, and the odds that both make."""
    drawn = numbers_of(case.facts.get("prevalence.drawn"), case.classes)
    for key in ("loss.pos_weight", "loss.class_weights", "loss.alpha"):
        stated = case.facts.get(key)
        if stated is None or (key == "loss.alpha" and "focal" not in case.loss_terms):
            continue
        weights = numbers_of(stated, case.classes)
        if weights is None:
            if case.chart.reader == "osler" or str(stated).lower() in ("none", "off"):
                continue  # Osler's own "auto" is worked out from what the sampler draws
            return key, stated, math.nan
        factor = weights / (1 - weights) if key == "loss.alpha" else weights
        if drawn is not None and len(factor) in (1, len(drawn)) and key != "loss.class_weights":
            odds = float(np.exp(np.mean(np.log(np.maximum(factor * drawn / np.maximum(1 - drawn, 1e-9), 1e-9)))))
            if odds > TOO_LARGE:
                return key, stated, odds
        elif factor.max() > 1.5 or factor.max() > 1.5 * factor.min():
            return key, stated, math.nan
    return None


def _short(value: object) -> str:
    if isinstance(value, tuple) and len(value) > 4:
        return f"[{', '.join(figure(float(each)) for each in value[:3])}, ... {len(value)} values]"
    if isinstance(value, dict):
        return f"{len(value)} values, {figure(min(value.values()))} to {figure(max(value.values()))}"
    return figure(float(value)) if isinstance(value, (int, float)) else str(value)


def focal_alpha_low(case: Case) -> Signs | Lacking | None:
    """Focal loss that weighs rare positives down."""
    if "focal" not in case.loss_terms:
        return None if case.loss_terms else Lacking("loss.type, and for focal loss.alpha")
    alpha = numbers_of(case.facts.get("loss.alpha"), case.classes)
    if alpha is None:
        return Lacking("loss.alpha as a number") if isinstance(case.facts.get("loss.alpha"), str) else None
    labels = case.labels("train") or case.labels("val")
    share = float(np.median(labels.share)) if labels is not None else math.nan
    if not 0.0 < float(np.median(alpha)) < 0.5 or share >= 0.5:
        return None
    a = float(np.median(alpha))
    down = (1 - a) / a
    evidence = [Evidence("loss.alpha", a, None, expected=0.5, basis="positives and negatives alike; 1 − prevalence at most")]
    text = f"loss.alpha {figure(a)} weighs every positive {figure(down)} times less than a negative"
    text += f", so a probability of 0.5 is reached only where a positive is {figure(1 - a)} likely"
    evidence.append(Evidence("posterior at which p = 0.5", 1 - a, None, expected=0.5, basis="1 − alpha, whatever gamma is"))
    if case.above_chance("val"):
        text += ". The AUC is above chance: the ranking is learned, the probabilities are pushed under the threshold"
    to = two_digits(min(0.95, max(0.5, 1 - share))) if math.isfinite(share) else "auto"
    changes = (
        *set_fact(
            case, "evaluation.threshold", "f1", "the ranking needs no new training: choose each class's threshold on validation"
        ),
        *set_fact(
            case,
            "loss.alpha",
            to,
            "alpha is the weight of the positives: between 0.5 and 1 − prevalence, never under 0.5 where they are rare",
        ),
    )
    return Signs(text + ".", tuple(evidence), "warning", 0.85 if math.isfinite(share) else 0.7, changes)


def focal_alpha_high(case: Case) -> Signs | Lacking | None:
    """Focal loss whose positives outweigh the negatives by more than their rarity."""
    if "focal" not in case.loss_terms:
        return None if case.loss_terms else Lacking("loss.type, and for focal loss.alpha")
    alpha, labels = numbers_of(case.facts.get("loss.alpha"), case.classes), case.labels("train") or case.labels("val")
    if alpha is None or labels is None or len(alpha) not in (1, len(labels.share)):
        return (
            None
            if alpha is None and case.facts.get("loss.alpha") is None
            else Lacking("loss.alpha and prevalence.train as numbers")
        )
    share = np.clip(labels.share, 1e-6, 1 - 1e-6)
    odds = alpha / np.maximum(1 - alpha, 1e-9) * share / (1 - share)
    k = int(np.argmax(odds))
    if odds[k] <= TOO_LARGE or case.balanced_sampler:
        return None
    a = float(alpha[k if len(alpha) > 1 else 0])
    to = two_digits(min(0.95, max(0.5, 1 - float(share[k]))))
    text = (
        f"loss.alpha {figure(a)} at a prevalence of {float(share[k]):.2%} hands the positives {figure(float(odds[k]))} "
        "times the weight "
        "of the negatives: probabilities are pushed up, and precision pays."
    )
    evidence = (Evidence("loss.alpha", a, None, expected=to, basis="1 − prevalence, within 0.5 and 0.95"),)
    changes = set_fact(case, "loss.alpha", to, "between 0.5 and 1 − prevalence: at 1 − prevalence both sides weigh alike")
    return Signs(text, evidence, "warning", 0.75, changes)


def focal_gamma_high(case: Case) -> Signs | Lacking | None:
    """A focal exponent that mutes whatever is not badly wrong."""
    if "focal" not in case.loss_terms:
        return None if case.loss_terms else Lacking("loss.type, and for focal loss.gamma")
    gamma = case.facts.number("loss.gamma")
    if not math.isfinite(gamma):
        return Lacking("loss.gamma as a number")
    if gamma <= HIGH_GAMMA:
        return None
    poor = not case.learned
    text = (
        f"loss.gamma {figure(gamma)} leaves a sample at p = 0.5 with {figure(0.5**gamma)} of its weight, and one that is "
        "nearly right "
        f"(p = 0.9) with {figure(0.1**gamma)}: only samples that are badly wrong, often mislabelled ones, still teach."
    )
    evidence = (
        Evidence("loss.gamma", gamma, None, expected=2.0, basis="best in the source; up to 3 makes little difference"),
        Evidence("weight at p = 0.5", 0.5**gamma, None, expected=0.25, basis="(1 − p)^gamma, against gamma 2"),
    )
    changes = set_fact(case, "loss.gamma", 2.0, "mutes easy negatives a hundredfold and leaves p = 0.5 a quarter of its weight")
    severity: Severity = "critical" if poor and gamma > HIGHEST_GAMMA else "warning" if poor or gamma > HIGHEST_GAMMA else "note"
    return Signs(text, evidence, severity, 0.75 if poor else 0.65, changes)


def output_bias_wrong(case: Case) -> Signs | Lacking | None:
    """An output that starts at another constant than the best one under the loss in force, such as the bare prevalence."""
    measured = _first_loss(case)
    if measured is not None:
        return measured
    stated, labels, least = case.facts.get("model.output_bias"), case.labels("train"), case.floor("train")
    if stated is None or (isinstance(stated, str) and stated.lower() != "prior"):
        return Lacking("model.output_bias as a number, or prior") if stated is None else None
    if labels is None or not math.isfinite(labels.single) or not math.isfinite(least) or case.loss_terms != ("bce",):
        return Lacking("loss.type: bce with its weight, and prevalence.train: what the best constant is")
    share, spec = min(max(labels.single, 1e-6), 1 - 1e-6), case.loss_spec
    weight = float(spec.pos_weight[0]) if spec is not None and spec.pos_weight is not None else 1.0
    bias = math.log(share / (1 - share)) if stated == "prior" else float(stated)
    start = share * weight * math.log1p(math.exp(-bias)) + (1 - share) * math.log1p(math.exp(min(bias, 500.0)))
    if start < 1.5 * least:
        return None
    best = math.log(weight * share / (1 - share))
    text = (
        f"The output starts at a bias of {figure(bias)}, where the loss is {figure(start)}; the best constant under a "
        "positive weight of "
        f"{figure(weight)} has {figure(least)}, at {figure(best)}."
    )
    evidence = (Evidence("first loss", start, None, expected=least, basis="floor"),)
    changes = set_fact(case, "model.output_bias", "floor", "start at the best constant under the loss in force")
    return Signs(text, evidence, "warning" if start > 4 * least else "note", 0.85, changes)


def _first_loss(case: Case) -> Signs | None:
    """A loss before any step that neither the best constant nor outputs near 0.5 have."""
    value, error = (case.chart.points(f"first_loss.{name}")[1] for name in ("value", "se"))
    usual = np.array([each for each in (case.floor("train"), case.at_half("train")) if math.isfinite(each)])
    if not len(value) or not len(error) or not len(usual) or not float(value[0] - 3 * error[0]) > FAR_START * float(usual.max()):
        return None
    text = (
        f"The first batch, before any step, has a loss of {figure(float(value[0]))}; the best constant has "
        f"{figure(float(usual[0]))}, and outputs at 0.5 {figure(float(usual.max()))} at most: the output starts far from both, "
        "and the first epochs go into unlearning it."
    )
    low, high = float(value[0] - 1.96 * error[0]), float(value[0] + 1.96 * error[0])
    evidence = (Evidence("first loss", float(value[0]), None, low, high, float(usual[0]), "the floor"),)
    changes = _start_at_the_floor(case)
    actions = ("check what sets the bias of the output layer, and whether weights were loaded into it",)
    return Signs(text, evidence, "warning", 0.7, changes, actions, (float(case.chart.epochs[0]),))


def _start_at_the_floor(case: Case) -> tuple[Change, ...]:
    why = "start at the best constant under the loss in force"
    stated, best = case.facts.get("model.output_bias"), case.constant("train")
    if stated != "floor":
        return set_fact(case, "model.output_bias", "floor", why)
    # What is configured is right, and is not what runs: the values that the layer itself should hold.
    values = "" if best is None else f": {', '.join(f'{each:.2f}' for each in np.asarray(best.logits).tolist())}"
    return (Change("model.output_bias", stated, f"the logits of the best constant{values}", f"{why}, which is not what ran"),)


def output_bias_zero(case: Case) -> Signs | Lacking | None:
    """An output that starts at 0.5 where the best constant is far from it."""
    stated = case.facts.get("model.output_bias")
    if stated is None:
        return Lacking("model.output_bias")
    labels, least = case.labels("train"), case.floor("train")
    if (
        str(stated).lower() not in ("zero", "0", "0.0")
        or labels is None
        or not math.isfinite(labels.single)
        or not math.isfinite(least)
    ):
        return None
    spec = case.loss_spec
    weight = float(spec.pos_weight[0]) if spec is not None and spec.pos_weight is not None else 1.0
    half = math.log(2.0) * (1.0 + labels.single * (weight - 1.0))
    if case.loss_terms != ("bce",) or half < 1.5 * least:
        return None
    text = (
        f"The output starts at 0.5, where the loss is {figure(half)}; the best constant has {figure(least)}: the first epochs "
        "learn the prevalence and nothing else."
    )
    evidence = (Evidence("first loss", half, None, expected=least, basis="floor"),)
    return Signs(
        text,
        evidence,
        "note",
        0.8,
        set_fact(case, "model.output_bias", "floor", "start at the best constant under the loss in force"),
    )


IMBALANCE: dict[str, Fault] = {
    "double_correction": Fault(
        id="double_correction",
        scope="classification",
        name="Imbalance corrected twice",
        family="imbalance",
        level="cause",
        means="A sampler balances what is drawn, and weights in the loss balance it again.",
        needs="data.sampler, and loss.pos_weight, loss.class_weights or loss.alpha",
        signature=double_correction,
        severity="warning",
        dose="one of the two: with a balancing sampler pos_weight null",
        explains=("pos_weight_too_large", "single_class_prediction", "threshold_mismatch", "pos_weight_inverted"),
        lookalikes=(
            Lookalike("pos_weight_too_large", "data.sampler is none"),
            Lookalike("sampler_starves_findings", "prevalence.drawn"),
        ),
        harmful=("comparing its loss with that of a run without the sampler: their floors differ",),
        source="effective odds: drawn odds × weight",
    ),
    "focal_alpha_low": Fault(
        id="focal_alpha_low",
        scope="classification",
        name="Focal alpha weighs rare positives down",
        family="imbalance",
        level="cause",
        means=(
            "alpha is the weight of the positives; under 0.5 it pushes their probabilities below the threshold. The ranking is "
            "not at fault."
        ),
        needs="loss.type: focal, loss.alpha, the prevalence",
        signature=focal_alpha_low,
        severity="warning",
        dose="thresholds chosen on validation first; then alpha between 0.5 and 1 − prevalence",
        explains=("threshold_mismatch", "single_class_prediction", "accuracy_is_majority"),
        lookalikes=(
            Lookalike("threshold_mismatch", "the same without focal loss"),
            Lookalike("not_learning", "the AUC: at chance, alpha is not to blame"),
        ),
        harmful=(
            "another architecture, learning rate or more epochs for a ranking that is sound",
            "alpha as the weight of the background, as some libraries name it: probe it with one false negative and one false "
            "positive",
        ),
        source="Lin et al. 2017 (alpha 0.25 goes with gamma 2 and thousands of easy negatives a box)",
    ),
    "focal_alpha_high": Fault(
        id="focal_alpha_high",
        scope="classification",
        name="Focal alpha weighs positives up too far",
        family="imbalance",
        level="cause",
        means="alpha gives the positives more than three times the weight of all negatives together.",
        needs="loss.type: focal, loss.alpha, the prevalence",
        signature=focal_alpha_high,
        severity="warning",
        dose="alpha between 0.5 and 1 − prevalence",
        explains=("threshold_mismatch", "single_class_prediction"),
        lookalikes=(
            Lookalike("pos_weight_too_large", "the same with BCE"),
            Lookalike("double_correction", "data.sampler"),
        ),
        harmful=("a higher threshold alone: the gradient still belongs to a few samples",),
        source="effective odds alpha/(1 − alpha) · π/(1 − π); Lin et al. 2017",
    ),
    "focal_gamma_high": Fault(
        id="focal_gamma_high",
        name="Focal gamma too high",
        family="imbalance",
        level="cause",
        means="(1 − p)^gamma mutes all samples but those that are badly wrong; mislabelled ones then lead.",
        needs="loss.type: focal, and loss.gamma",
        signature=focal_gamma_high,
        severity="critical above 5 where nothing was learned, a warning above 5 or where nothing was learned; else a note",
        dose="gamma 2",
        explains=(
            "loss_at_zero",
            "stuck_loss",
            "vanishing_gradients",
            "threshold_mismatch",
            "learning_rate_too_low",
            "not_learning",
            "frozen_network",
            "updates_underflow",
            "single_class_prediction",
            "chance_auc",
            "accuracy_is_majority",
            "best_from_noise",
        ),
        lookalikes=(
            Lookalike("loss_at_zero", "the floor of the loss under this gamma: a small focal loss is no vanished one"),
            Lookalike("focal_alpha_low", "loss.alpha under 0.5"),
            Lookalike("learning_rate_too_low", "the same at gamma 0, which is cross-entropy"),
        ),
        harmful=("a higher learning rate for the gradients that gamma mutes: mislabelled samples get it all",),
        source="Lin et al. 2017, table 1b; Mukhoti et al. 2020 on under-confidence",
    ),
    "output_bias_wrong": Fault(
        id="output_bias_wrong",
        scope="classification",
        name="Output bias at the wrong constant",
        family="imbalance",
        level="cause",
        means="The output starts at a constant that is not the best one under the weight in force, such as the bare prevalence.",
        needs="first_loss with its standard error; or model.output_bias as a number or prior, loss.type: bce with its weight, "
        "prevalence.train",
        signature=output_bias_wrong,
        severity="warning where the first loss is measured, or from four times the floor on; else a note",
        explains=("threshold_mismatch", "still_improving"),
        dose="model.output_bias: floor, which is the log-odds of the prevalence plus the logarithm of the weight",
        lookalikes=(
            Lookalike("output_bias_zero", "the bias is 0"),
            Lookalike("learning_rate_too_high", "the loss stays above the floor after the first epochs"),
        ),
        harmful=("another weight, to fit the bias",),
        source="argmin of a weighted BCE over constants: log(wπ/(1 − π)); at w = (1 − π)/π it is 0",
    ),
    "output_bias_zero": Fault(
        id="output_bias_zero",
        scope="classification",
        name="Output bias starts at 0.5",
        family="imbalance",
        level="cause",
        means="The first loss is far above the best constant's, and the first epochs learn the prevalence only.",
        needs="model.output_bias, loss.type and prevalence.train",
        signature=output_bias_zero,
        severity="note",
        dose="the best constant under the loss and sampler in force, not the prevalence itself",
        lookalikes=(Lookalike("learning_rate_too_high", "the loss stays above the floor after the first epochs"),),
        harmful=("the log-odds of the prevalence where a weight is in force: it starts far above the floor",),
        source="Lin et al. 2017, section 4.1; Karpathy: verify the loss at the start",
    ),
}
