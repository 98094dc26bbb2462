"""Label words, codes and columns become targets: (N, K) in {0, 1, NaN}, with the task they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import DataConfig
from osler.data.messages import count, some
from osler.data.samples import TaskKind
from osler.errors import DataError, nearest

__all__ = [
    "Labels",
    "absent_names",
    "exclusive_labels",
    "fill_unknown",
    "is_negative",
    "order_of_two",
    "plain",
    "several_labels",
    "unknown_fault",
    "unknown_note",
]

# What people call the class without a finding. The second row names it only beside one other class: where there are several,
# a benign lesion is a class of its own.
NEGATIVE_NAMES = frozenset({"nofinding", "nofindings", "normal", "negative", "healthy", "none"})
NEGATIVE_OF_TWO = NEGATIVE_NAMES | {
    "benign",
    "control",
    "controls",
    "absent",
    "no",
    "false",
    "0",
    "neg",
    "nondiseased",
    "background",
}


SAID = {"unknown": "blank", "uncertain": "uncertain"}


@dataclass(frozen=True)
class Labels:
    """Targets and what they mean.

    Attributes:
        targets: (N, K) float32 in {0, 1, NaN}.
        classes: K names.
        task: binary, multiclass or multilabel.
        negative: name of the class without a finding.
        listed: as in `Samples`.
        notes: what was assumed, one sentence each.
    """

    targets: NDArray[np.float32]
    classes: tuple[str, ...]
    task: TaskKind
    negative: str = "negative"
    notes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name without case, blanks and signs, for comparing spellings.

    >>> plain("Patient ID"), plain("patient_id")
    ('patientid', 'patientid')
    """
    return re.sub(r"[\W_]+", "", name).lower()


def is_negative(name: str, beside_one_other: bool = False) -> bool:
    """Whether a name says that there is no finding.

    >>> is_negative("No Finding"), is_negative("benign"), is_negative("benign", beside_one_other=True)
    (True, False, True)
    """
    if not beside_one_other:
        return plain(name) in NEGATIVE_NAMES
    # "no_tumor" and "non-cancer", but not "nodule".
    return plain(name) in NEGATIVE_OF_TWO or re.match(r"(no|non|not|without)[\W_]+\w", name, re.IGNORECASE) is not None


def order_of_two(names: Sequence[str]) -> tuple[str, str, str]:
    """The negative and the positive of two classes, and why: by name where just one is negative, else in sorted order.

    >>> order_of_two(["PNEUMONIA", "NORMAL"])[:2]
    ('NORMAL', 'PNEUMONIA')
    >>> order_of_two(["malignant", "benign"])[:2]
    ('benign', 'malignant')
    """
    first, last = sorted(names)
    if is_negative(last, beside_one_other=True) and not is_negative(first, beside_one_other=True):
        return last, first, f"{last!r} names what is negative"
    if is_negative(first, beside_one_other=True):
        return first, last, f"{first!r} names what is negative"
    return first, last, "it is the last in sorted order"


def exclusive_labels(codes: NDArray[np.intp], names: Sequence[str], config: DataConfig) -> Labels:
    """Targets of classes that exclude each other.

    Two classes make a binary task with K = 1, three or more a multiclass one with one-hot rows, unless `config.task` says
    otherwise. With `config.classes` given, the last of two is the positive one.

    Args:
        codes: (N,) index into `names`; −1 is unknown and becomes NaN.
        names: all classes.

    Raises:
        DataError: one class only, or a task that does not fit the classes.
    """
    if len(names) < 2:
        raise DataError(f"there is only one class, {some(names)}: a classifier needs at least two")
    task = config.task if config.task != "auto" else "binary" if len(names) == 2 else "multiclass"
    if task == "binary" and len(names) != 2:
        raise DataError(f"data.task is binary, but there are {count(len(names), 'class', 'classes')}: {some(names, 10)}")
    known = (codes >= 0)[:, None]
    if task == "binary":
        negative, positive, why = (*names, "it is the last of data.classes") if config.classes else order_of_two(names)
        one = np.where(known, codes[:, None] == list(names).index(positive), np.nan).astype(np.float32)
        said = (f"The positive class is {positive!r}: {why}.",)
        return Labels(one, (positive,), "binary", negative, said, (negative, positive))
    targets = np.where(known, codes[:, None] == np.arange(len(names)), np.nan).astype(np.float32)
    if task == "multiclass":
        return Labels(targets, tuple(names), "multiclass")
    kept = [index for index, name in enumerate(names) if not is_negative(name)]
    absent = [name for name in names if is_negative(name)]
    negative = absent[0] if absent else "negative"
    return Labels(targets[:, kept], tuple(names[index] for index in kept), "multilabel", negative, listed=tuple(names))


def several_labels(targets: NDArray[np.float32], names: Sequence[str], config: DataConfig) -> Labels:
    """Targets given as one column a class.

    One column makes a binary task. Columns of which every row has exactly one are classes that exclude each other, unless
    `config.task` is multilabel; all else is multilabel.

    Args:
        targets: (N, K) in {0, 1, NaN}.
        names: K names.

    Raises:
        DataError: `config.task` does not fit the labels.
    """
    known = ~np.isnan(targets).any(axis=1)
    positives = np.nansum(targets, axis=1)
    exclusive = len(names) > 1 and bool(known.any()) and bool((positives[known] == 1).all())
    if config.task == "multilabel" or (config.task == "auto" and len(names) > 1 and not exclusive):
        return Labels(targets, tuple(names), "multilabel")
    if len(names) == 1 and config.task != "multiclass":
        return Labels(targets, tuple(names), "binary")
    if not exclusive:
        odd = int((positives[known] != 1).sum())
        raise DataError(
            f"data.task is {config.task}, but {count(odd, 'row')} have none or several of the labels {some(names, 10)}: "
            "use multilabel, or correct them"
        )
    codes = np.where(known, np.nan_to_num(targets).argmax(axis=1), -1).astype(np.intp)
    made = exclusive_labels(codes, names, config)
    if config.task != "auto":
        return made
    note = f"Every row has exactly one of {some(names, 10)}: the task is taken as {made.task}, not multilabel."
    return replace(made, notes=(*made.notes, note))


def unknown_fault(
    blank: NDArray[np.bool_], names: Sequence[str], places: NDArray[Any], policy: str, kind: str = "unknown"
) -> str | None:
    """What is wrong with unknown labels under `data.unknown: error`; None where nothing is.

    Args:
        blank: (N, K) cells that are unknown.
        names: K columns.
        places: (N,) where each row is, such as "line 7".
        policy: `data.unknown`, or `data.uncertain`.
        kind: "uncertain" for cells that say so, else "unknown".
    """
    rows = np.flatnonzero(blank.any(axis=1))
    if policy != "error" or not len(rows):
        return None
    per_column = [f"{name} {number:,}" for name, number in zip(names, blank.sum(axis=0), strict=True) if number]
    return (
        f"labels are {SAID[kind]} in {count(len(rows), 'row')} ({some(per_column, 8)}; first: {some(places[rows[:5]])}). "
        f"Say what that means by data.{kind}: ignore (unknown: it stays out of loss and scores), negative or positive"
    )


def fill_unknown(labels: Labels, rows: NDArray[np.bool_], policy: str) -> Labels:
    """Gives rows without a label the meaning that `data.unknown` says, and notes it.

    Args:
        labels: rows without a label have any value.
        rows: (N,) which those are.
        policy: "ignore" (or "error", when the fault is reported elsewhere): NaN; "negative" or "positive".

    Raises:
        DataError: the policy has no meaning for the task.
    """
    if not rows.any():
        return labels
    if labels.task == "multiclass" and policy in ("negative", "positive"):
        raise DataError(f"data.unknown: {policy} has no meaning where each sample has one of several classes: use ignore")
    if labels.task == "multilabel" and policy == "positive":
        raise DataError("data.unknown: positive would give blank rows every label: use ignore or negative")
    targets = labels.targets.copy()
    targets[rows] = {"negative": 0.0, "positive": 1.0}.get(policy, np.nan)
    return replace(labels, targets=targets, notes=(*labels.notes, unknown_note(int(rows.sum()), policy)))


def unknown_note(blanks: int, policy: str, kind: str = "unknown") -> str:
    """A sentence for the run's notes; arguments as in `unknown_fault`.

    >>> unknown_note(2, "negative")
    '2 blank labels taken as negative (data.unknown: negative).'
    """
    meaning = "unknown" if policy == "ignore" else policy
    return f"{count(blanks, f'{SAID[kind]} label')} taken as {meaning} (data.{kind}: {policy})."


def absent_names(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """The wanted names that are not present, each with the nearest that is.

    >>> absent_names(["Hernea", "Mass"], ["Hernia", "Mass"])
    ["'Hernea' (did you mean 'Hernia'?)"]
    """
    lacking = [name for name in wanted if name not in present]
    return [f"{name!r}{f' (did you mean {guess!r}?)' if (guess := nearest(name, present)) else ''}" for name in lacking]
