"""Whether validation images reach the network as training images do, by their pixels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from osler.doctor.case import SCORES, Case
from osler.doctor.course import median
from osler.doctor.findings import Evidence, Severity, Signs, figure
from osler.doctor.modes import TRAINING, VALIDATION_BATCH

__all__ = ["pixels_apart"]

# Validation images are apart from training images by so many standard errors, and by so many spreads from image to image. Another
# scanner or hospital may be one or two spreads off, which is worth a note; a step of the preparation that one path leaves out
# moves every image by more.
FAR, SPREADS, MANY_SPREADS, FEWEST_IMAGES = 5.0, 1.5, 3.0, 8
# The least spread that is taken for one: sets of images that are all alike differ by some grey levels for no reason.
LEAST_SPREAD = 4.0
# Mean images of films that all stand one way up agree; those of each other's negatives do the contrary, next to perfectly. Mean
# images of things that lie anywhere are contrary by chance, to -0.8 of a few images.
CONTRARY, FEWEST_FOR_LIKENESS = -0.9, 16
# A validation score so near to that of training shows that what is apart does no harm.
BESIDE = 0.05
ACTIONS = (
    "ask where the images of either split come from: another scanner, hospital, export or resizing is in the files themselves",
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

    Both are measured as validation prepares its images, without augmentation: where they do not agree, and both splits are of one
    source, one of the two was prepared in another way. It does less harm where validation is learned all the same.
    """
    likeness = median(case.chart.values(f"{TRAINING}.likeness"))
    contrary = likeness < CONTRARY and _fewest(case) >= FEWEST_FOR_LIKENESS
    found = max((each for name in ("mean", "sd") if (each := _apart(case, name))), key=lambda each: each.spreads, default=None)
    if found is None and not contrary:
        return None
    parts: list[str] = []
    evidence: list[Evidence] = []
    first = float(case.chart.epochs[0])
    if contrary:
        parts.append(f"the mean validation image is a negative of the mean training image (correlation {figure(likeness)})")
        evidence.append(Evidence(f"{TRAINING}.likeness", likeness, first, expected=1.0, basis="median over epochs"))
    if found is not None:
        what = {"mean": "have a mean of", "sd": "spread by"}[found.name]
        parts.append(
            f"validation images {what} {figure(found.validated)} on 0–255, training images without augmentation "
            f"{figure(found.trained)}, {figure(found.spreads)} times the spread from image to image"
        )
        name = f"{VALIDATION_BATCH}.pixels.{found.name}"
        evidence.append(Evidence(name, found.validated, first, expected=found.trained, basis=f"{TRAINING}.pixels.{found.name}"))
    text = f"{'; '.join(parts)}: other files, or another preparation, than training's."
    grave = contrary or (found is not None and found.spreads > MANY_SPREADS)
    severity: Severity = "note" if not grave else "warning" if _does_no_harm(case) else "critical"
    return Signs(text[0].upper() + text[1:], tuple(evidence), severity, 0.95 if grave else 0.5, (), ACTIONS, (first,))


def _does_no_harm(case: Case) -> bool:
    """Whether validation is as well learned as training all the same."""
    name = next((each for each in SCORES if case.chart.has(f"val.{each}", f"train.{each}", points=3)), None)
    if name is None or not case.learned:
        return False
    _, val, train = case.pair(f"val.{name}", f"train.{name}")
    return len(val) > 0 and median(val[-3:]) > median(train[-3:]) - BESIDE


def _fewest(case: Case) -> float:
    """The fewest images of a split that were looked at; 0 where nobody knows."""
    counts = [case.chart.points(f"{split}.n")[1] for split in (TRAINING, VALIDATION_BATCH)]
    return min((float(each.min()) for each in counts if len(each)), default=0.0) if all(map(len, counts)) else 0.0


def _apart(case: Case, name: str) -> _Apart | None:
    """A figure of the pixels by which the splits are apart; None where they are not, or too few images were looked at."""
    series = {split: [case.chart.points(f"{split}.{each}")[1] for each in (f"pixels.{name}", f"pixels.{name}_se", "n")]
              for split in (TRAINING, VALIDATION_BATCH)}  # fmt: skip
    if any(not len(values) for each in series.values() for values in each):
        return None
    trained, train_error, seen = series[TRAINING]
    validated, val_error, n = (float(values[-1]) for values in series[VALIDATION_BATCH])
    if _fewest(case) < FEWEST_IMAGES:
        return None
    # Other training images are looked at in each epoch, the same of validation.
    error = math.hypot(val_error, median(train_error) / math.sqrt(len(trained)))
    spread = max(median(train_error) * math.sqrt(float(seen.min())), val_error * math.sqrt(n), LEAST_SPREAD)
    gap = abs(validated - float(trained.mean()))
    spreads = gap / spread
    return _Apart(name, float(trained.mean()), validated, spreads) if gap > FAR * error and spreads > SPREADS else None
