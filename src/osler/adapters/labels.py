"""Labels and outputs of a foreign loop as Osler counts them: logits (N, K), and targets (N, K) in {0, 1, NaN}.

Binary outputs may be one logit a sample or two under a softmax, whose difference is that logit. Class numbers become one-hot
rows; -100, which torch's losses leave out, is unknown. Probabilities become logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.metrics.floors import LOSS_TWINS
from osler.metrics.weights import Kind, LabelCounts, LossSpec

__all__ = ["aligned", "as_logits", "classes_of", "losses_by_sample"]

Floats = NDArray[np.float64]

# The nearest to 0 and 1 that float32 tells from them: beyond, a saturated probability has no logit.
NEAREST = 2.0**-24
UNKNOWN = -100
MOST_SHOWN = 5


def classes_of(shape: Sequence[int], kind: Kind) -> int:
    """How many classes outputs of this shape (N,) or (N, C) have.

    >>> classes_of((8, 2), "binary"), classes_of((8, 14), "multilabel")
    (1, 14)
    """
    return 1 if kind == "binary" or len(shape) < 2 else int(shape[1])


def as_logits(probabilities: Floats) -> Floats:
    """log(p / (1 - p)), finite at 0 and 1; NaN stays NaN.

    >>> as_logits(np.array([0.5, 1.0])).round(2).tolist()
    [0.0, 16.64]
    """
    inside = np.clip(probabilities, NEAREST, 1 - NEAREST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def aligned(
    outputs: NDArray[np.generic], targets: NDArray[np.generic], kind: Kind, classes: int, probabilities: bool
) -> tuple[Floats, Floats]:
    """Logits (N, K) and targets (N, K) of what a loop handed over.

    Args:
        outputs: (N,), (N, K), or (N, 2) of a binary softmax.
        targets: labels (N,) or (N, K) in {0, 1, NaN}; class numbers (N,) of multiclass, and of a binary softmax.
        kind: of the task.
        classes: K.
        probabilities: outputs are within 0 and 1.

    Raises:
        DataError: the shapes do not fit, a label is none, or a probability lies outside 0 and 1.

    >>> logits, labels = aligned(np.array([[0.0, 2.0]]), np.array([1]), "binary", 1, False)
    >>> logits.tolist(), labels.tolist()
    ([[2.0]], [[1.0]])
    """
    values = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    labels = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
    if probabilities:
        _check_probabilities(values)
    pair = kind == "binary" and values.shape[1] == 2
    wanted = 2 if pair else classes
    if len(values) != len(labels) or values.shape[1] != wanted:
        raise DataError(
            f"outputs {np.shape(outputs)} and targets {np.shape(targets)} do not fit a {kind} task of {classes} "
            f"class{'es' if classes > 1 else ''}: outputs are (samples, {classes})"
            f"{', or (samples, 2) of a softmax' if kind == 'binary' else ''}, targets as many labels or class numbers"
        )
    labels = _one_hot(labels, wanted) if (kind == "multiclass" or pair) and labels.shape[1] == 1 and wanted > 1 else labels
    if labels.shape[1] != wanted:
        raise DataError(f"targets {np.shape(targets)}: {labels.shape[1]} labels a sample for {classes} classes")
    _check_labels(labels)
    if pair:
        logs = np.log(np.maximum(values, NEAREST)) if probabilities else values
        return logs[:, 1:] - logs[:, :1], labels[:, 1:]
    if probabilities:
        return (np.log(np.clip(values, NEAREST, 1.0)) if kind == "multiclass" else as_logits(values)), labels
    return values, labels


def _one_hot(numbers: Floats, classes: int) -> Floats:
    """(N, K) rows of class numbers (N, 1); NaN and -100 are unknown."""
    flat = numbers[:, 0]
    known = np.isfinite(flat) & (flat != UNKNOWN)
    wrong = np.unique(flat[known & ~np.isin(flat, np.arange(classes))])
    if len(wrong):
        raise DataError(f"targets: {_shown(wrong)} are no class numbers; {classes} classes are numbered 0 to {classes - 1}")
    rows = np.full((len(flat), classes), np.nan)
    rows[known] = flat[known][:, None] == np.arange(classes)
    return rows


def _check_labels(labels: Floats) -> None:
    labels[labels == UNKNOWN] = np.nan
    wrong = np.unique(labels[~np.isnan(labels) & (labels != 0) & (labels != 1)])
    if len(wrong):
        raise DataError(
            f"targets: {_shown(wrong)} are no labels; they are 0, 1, or NaN where unknown. Hand over labels as they were before "
            "smoothing or mixing, or only the loss: step(loss)"
        )


def _check_probabilities(values: Floats) -> None:
    known = values[np.isfinite(values)]
    wrong = known[(known < 0) | (known > 1)]
    if len(wrong):
        raise DataError(f'outputs: {_shown(np.unique(wrong))} are no probabilities; logits need outputs="logits"')


def _shown(values: Floats) -> str:
    more = f" and {len(values) - MOST_SHOWN} more" if len(values) > MOST_SHOWN else ""
    return ", ".join(f"{value:g}" for value in values[:MOST_SHOWN]) + more


def losses_by_sample(spec: LossSpec, logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """What the stated loss makes of each sample: summed losses (N,), and what they are divided by (N,).

    Each cell is a split of one for the twin of the loss; the mean loss is the sum of the first over the sum of the second.

    Args:
        spec: of the loss.
        logits: (N, K).
        targets: (N, K) in {0, 1, NaN}.

    >>> values, weights = losses_by_sample(LossSpec("bce"), np.array([[0.0]]), np.array([[1.0]]))
    >>> values.round(4).tolist(), weights.tolist()
    ([0.6931], [1.0])
    """
    with np.errstate(invalid="ignore"):  # a broken logit makes a broken loss, which is what there is to see
        return _cross_entropies(spec, logits, targets) if spec.type == "cross_entropy" else _by_cell(spec, logits, targets)


def _by_cell(spec: LossSpec, logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(targets)
    cells = LabelCounts("multilabel", (targets == 1).astype(np.float64), (targets == 0).astype(np.float64))
    values, weights = LOSS_TWINS[spec.type](spec, cells, np.where(known, logits, 0.0))
    return values.sum(axis=1), weights.sum(axis=1)


def _cross_entropies(spec: LossSpec, logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(targets).any(axis=1, keepdims=True)
    hard = np.where(known, targets, 0.0)
    top = logits.max(axis=1, keepdims=True)
    surprise = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) - logits
    soft = hard * (1 - spec.label_smoothing) + spec.label_smoothing / hard.shape[1]
    weights = (hard if spec.class_weights is None else hard * spec.class_weights).sum(axis=1)
    # A row of no weight may hold what is not finite.
    values = np.where(weights > 0, (soft * np.where(weights[:, None] > 0, surprise, 0.0)).sum(axis=1), 0.0)
    return weights * values, weights
