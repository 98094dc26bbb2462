"""Whether validation images reach the network as training images do, by their pixels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from osler.doctor.case import Case
from osler.doctor.findings import Evidence, Severity, Signs, figure
from osler.doctor.modes import TRAINING, VALIDATION_BATCH

__all__ = ["pixels_apart"]

# Validation images are apart from training images by so many standard errors, and by so many spreads from image to image: two
# scanners are seldom one spread apart, and a step of the preparation that one path leaves out moves every image by several.
FAR, SPREADS, MANY_SPREADS, FEWEST_IMAGES = 5.0, 1.5, 3.0, 8
# Mean images of films that all stand one way up agree; where they are each other's negatives, they do the contrary.
CONTRARY = -0.5
ACTIONS = (
    "compare what each path does to an image, step by step: range and window, inversion (MONOCHROME1), CLAHE, resizing",
    "draw four images of each split side by side, as the network receives them",
)


@dataclass(frozen=True)
class _Apart:
    """A figure of the pixels, on 0–255: training's and validation's, and their distance in spreads from image to image."""

    name: str
    trained: float
    validated: float
    spreads: float


def pixels_apart(case: Case) -> Signs | None:
    """Validation images that are darker, flatter, or negatives of training images; None where they agree, or nobody knows.

    Both are measured as validation prepares its images, without augmentation, so that they must agree but for chance.
    """
    likeness = case.chart.points(f"{TRAINING}.likeness")[1]
    contrary = len(likeness) > 0 and float(np.median(likeness)) < CONTRARY
    found = max((each for name in ("mean", "sd") if (each := _apart(case, name))), key=lambda each: each.spreads, default=None)
    if found is None and not contrary:
        return None
    parts: list[str] = []
    evidence: list[Evidence] = []
    first = float(case.chart.epochs[0])
    if contrary:
        value = float(np.median(likeness))
        parts.append(f"the mean validation image is a negative of the mean training image (correlation {figure(value)})")
        evidence.append(Evidence(f"{TRAINING}.likeness", value, first, expected=1.0, basis="median over epochs"))
    if found is not None:
        what = {"mean": "have a mean of", "sd": "spread by"}[found.name]
        parts.append(
            f"validation images {what} {figure(found.validated)} on 0–255, training images prepared in the same way "
            f"{figure(found.trained)}, {figure(found.spreads)} times the spread from image to image"
        )
        name = f"{VALIDATION_BATCH}.pixels.{found.name}"
        evidence.append(Evidence(name, found.validated, first, expected=found.trained, basis=f"{TRAINING}.pixels.{found.name}"))
    text = f"{'; '.join(parts)}: the two splits come to the network in different ways."
    severity: Severity = "critical" if contrary or (found is not None and found.spreads > MANY_SPREADS) else "warning"
    return Signs(text[0].upper() + text[1:], tuple(evidence), severity, 0.95, (), ACTIONS, (first,))


def _apart(case: Case, name: str) -> _Apart | None:
    """A figure of the pixels by which the splits are apart; None where they are not, or too few images were looked at."""
    series = {split: [case.chart.points(f"{split}.{each}")[1] for each in (f"pixels.{name}", f"pixels.{name}_se", "n")]
              for split in (TRAINING, VALIDATION_BATCH)}  # fmt: skip
    if any(not len(values) for each in series.values() for values in each):
        return None
    trained, train_error, seen = series[TRAINING]
    validated, val_error, n = (float(values[-1]) for values in series[VALIDATION_BATCH])
    if min(n, float(seen.min())) < FEWEST_IMAGES:
        return None
    # Other training images are looked at in each epoch, the same of validation.
    error = math.hypot(val_error, float(np.median(train_error)) / math.sqrt(len(trained)))
    spread = float(np.median(train_error)) * math.sqrt(float(seen.min()))
    gap = abs(validated - float(trained.mean()))
    # Images that are all alike have no spread; two grey levels are then what rounding may do.
    spreads = gap / max(spread, 2.0)
    return _Apart(name, float(trained.mean()), validated, spreads) if gap > FAR * error and spreads > SPREADS else None
