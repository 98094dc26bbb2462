"""Checks of shortcuts: labels that the file, the metadata, frames, markers or mere brightness tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from osler.audit.case import Case
from osler.audit.evidence import Told
from osler.audit.findings import Finding, Severity
from osler.audit.shortcuts import ALL

__all__ = ["columns_tell", "made_tells", "marks_tell", "repeated_labels", "tones_tell"]

KNOWN, GRAVE = 0.60, 0.75
"""The whole interval of an AUC above this: labels are told by how images were made; the second is a warning."""
MARKED, GRAVE_MARK = 0.65, 0.80
"""The same for frames, markers and saturation, which content moves a little too."""
TONED = 0.70
SAYS = 0.97
"""A column that tells a label so well was made from it, or says it again."""
NAMED, SHOWN = 4, 8


def made_tells(case: Case) -> Iterator[Finding]:
    """How, where and in which file an image was made tells its label."""
    found = [one for one in case.told if one.kind == "acquisition" and one.auc.low > KNOWN]
    if not found:
        return
    best = _best_of_each(found)
    parts = []
    for one in best[:NAMED]:
        single = max(
            (other for other in found if other.label == one.label and other.feature != ALL),
            key=lambda other: other.auc.value,
            default=one,
        )
        parts.append(f"{one.label} AUC {_auc(one)}, most by {single.feature} ({single.auc.value:.2f})")
    grave = max(one.auc.low for one in best) > GRAVE
    yield Finding(
        "metadata_tells_labels",
        "warning" if grave else "note",
        f"How the image was made tells its label, without a look at the content: {'; '.join(parts)}{_more(best)}. A model may "
        "learn that instead, and fail at the next hospital.",
        "Compare within groups (evaluation.subgroups), balance the labels within each, or prepare so that it cannot be seen.",
        figures=_figures(best),
    )


def columns_tell(case: Case) -> Iterator[Finding]:
    """Age, sex and the like tell a label: what any model has to beat."""
    found = [one for one in case.told if one.kind == "other" and one.auc.low > KNOWN and one.auc.value <= SAYS]
    if found:
        best = _best_of_each(found)
        parts = [f"{one.label} by {one.feature}, AUC {_auc(one)}" for one in best[:NAMED]]
        yield Finding(
            "columns_tell_labels",
            "note",
            f"Columns of the table alone tell labels: {'; '.join(parts)}{_more(best)}.",
            "A model of the images should do better than that; report figures within such groups.",
            figures=_figures(best),
        )


def repeated_labels(case: Case) -> Iterator[Finding]:
    """Columns that say the label again."""
    found = [one for one in case.told if one.kind == "other" and one.auc.low > KNOWN and one.auc.value > SAYS]
    if found:
        names = list(dict.fromkeys(one.feature for one in found))
        yield Finding(
            "column_says_label",
            "note",
            f"{', '.join(names[:6])}: {'these columns say' if len(names) > 1 else 'this column says'} a label again, or "
            f"{'were' if len(names) > 1 else 'was'} made from it (AUC above {SAYS:g}).",
            "Keep it away from any model and out of evaluation.subgroups.",
            figures=_figures(found),
        )


def marks_tell(case: Case) -> Iterator[Finding]:
    """Frames, markers and saturation tell a label."""
    found = [one for one in case.told if one.kind == "mark" and one.auc.low > MARKED]
    if found:
        severity: Severity = "warning" if max(one.auc.low for one in found) > GRAVE_MARK else "note"
        yield _of_pixels(
            case,
            found,
            "pixels_tell_labels",
            severity,
            "What was added to images, or cut from them, tells the label",
            "Crop or black out frames and markers, or compare figures with these parts covered.",
        )


def tones_tell(case: Case) -> Iterator[Finding]:
    """Mere brightness and contrast tell a label."""
    found = [one for one in case.told if one.kind == "tone" and one.auc.low > TONED]
    if found:
        yield _of_pixels(
            case,
            found,
            "brightness_tells_labels",
            "note",
            "Brightness and contrast alone tell the label",
            "Disease can do that, and so can exposure or another scanner: a model should do clearly better than this AUC.",
        )


def _of_pixels(case: Case, found: Sequence[Told], id: str, severity: Severity, what: str, action: str) -> Finding:
    best = _best_of_each(found)
    parts = [f"{one.label} by {one.feature}, AUC {_auc(one)}" for one in best[:NAMED]]
    first = best[0]
    k = case.samples.classes.index(first.label)
    has = case.samples.targets[first.rows, k] == 1
    order = np.argsort(-first.scores, kind="stable")
    high, low = order[has[order]][:SHOWN], order[::-1][~has[order[::-1]]][:SHOWN]
    shown = [(int(first.rows[place]), f"told as {first.label}") for place in high]
    shown += [(int(first.rows[place]), f"told as not {first.label}") for place in low]
    return Finding(
        id,
        severity,
        f"{what}: {'; '.join(parts)}{_more(best)}.",
        action,
        shown=tuple(shown),
        figures=_figures(best),
    )


def _best_of_each(found: Sequence[Told]) -> list[Told]:
    """The best feature for each class, the best told class first."""
    best: dict[str, Told] = {}
    for one in found:
        if one.label not in best or one.auc.value > best[one.label].auc.value:
            best[one.label] = one
    return sorted(best.values(), key=lambda one: -one.auc.low)


def _auc(one: Told) -> str:
    return f"{one.auc.value:.2f} ({one.auc.low:.2f} to {one.auc.high:.2f})"


def _more(best: Sequence[Told]) -> str:
    return f"; and {len(best) - NAMED} more" if len(best) > NAMED else ""


def _figures(found: Sequence[Told]) -> dict[str, object]:
    return {"told": [{"class": one.label, "by": one.feature, "auc": one.auc.to_json()} for one in found]}
