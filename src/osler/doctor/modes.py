"""The same samples with the network in training mode and in evaluation mode: some of validation, and some of training.

Stored statistics that lag make evaluation mode worse on both. Validation images that come to the network in another way, darker
or of less contrast, do so on validation's alone: in training mode a batch is normalised by itself, which hides the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.doctor.case import Case
from osler.doctor.course import median
from osler.doctor.findings import Evidence, Signs, figure

__all__ = ["TRAINING", "VALIDATION_BATCH", "Modes", "average_is_sound", "modes_of", "prepared_differently"]

VALIDATION_BATCH, TRAINING = "train_mode_loss", "unaugmented"
# A loss in evaluation mode so far above that in training mode, against the floor and against itself, in so many epochs of the
# second half: both are of the same samples, so only what the modes do differently parts them, but batches are of few samples.
MODE_GAP, FEWEST_APART = 0.15, 3
# Gaps that two batches, of other samples, must both show.
SOMEWHAT, SLIGHTLY = 0.1, 0.02


@dataclass(frozen=True)
class Modes:
    """The loss of a batch in both modes.

    Attributes:
        name: of the vital, VALIDATION_BATCH or TRAINING.
        epochs: (E,) at least three.
        trained: (E,) loss in training mode.
        evaluated: (E,) loss in evaluation mode.
        wide: (E,) whether the latter is far above the former.
        gap: (E,) by how much it is above it, in units of `scale`.
        scale: the floor, or the mean loss in training mode where that is unknown.
    """

    name: str
    epochs: NDArray[np.float64]
    trained: NDArray[np.float64]
    evaluated: NDArray[np.float64]
    wide: NDArray[np.bool_]
    gap: NDArray[np.float64]
    scale: float

    @property
    def apart(self) -> bool:
        """Whether the modes are apart at the end, and were in most epochs of the second half."""
        late = self.wide[len(self.wide) // 2 :]
        return bool(self.wide[-1] and late.sum() >= FEWEST_APART and late.mean() >= 0.75)

    @property
    def lagging(self) -> bool:
        """Whether evaluation mode was somewhat worse in nearly all epochs of the second half; of one batch that may be chance."""
        late = self.gap[len(self.gap) // 2 :]
        return bool(len(late) >= FEWEST_APART and median(late) > SOMEWHAT and (late > SLIGHTLY).mean() >= 0.75)

    @property
    def since(self) -> float:
        """The first epoch in which they were."""
        return float(self.epochs[int(np.argmax(self.wide | (self.gap > SOMEWHAT)))])


def modes_of(case: Case, name: str) -> Modes | None:
    """Both losses by epoch; None with fewer than three epochs.

    Args:
        case: of the run.
        name: VALIDATION_BATCH or TRAINING.
    """
    epochs, trained, evaluated = case.pair(f"{name}.train_mode", f"{name}.eval_mode")
    if len(epochs) < 3:
        return None
    least = case.floor("val" if name == VALIDATION_BATCH else "train")
    scale = least if least > 0 else max(float(trained.mean()), 1e-12)
    gap = (evaluated - trained) / scale
    return Modes(name, epochs, trained, evaluated, (gap > MODE_GAP) & (evaluated > (1 + MODE_GAP) * trained), gap, scale)


def _only_validation_apart(case: Case) -> Modes | None:
    """Validation's samples where they are worse in evaluation mode and training's are not; None otherwise, or where not known."""
    validation, training = modes_of(case, VALIDATION_BATCH), modes_of(case, TRAINING)
    if validation is None or training is None or not validation.apart:
        return None
    return None if training.wide.mean() > 0.25 else validation


def _gone_in_training_mode(validation: Modes, training: Modes) -> bool:
    """Whether validation is hardly worse than training where each batch is normalised by itself: what was learned holds there."""
    late = -max(1, len(training.epochs) // 2)
    trained = float(validation.trained[late:].mean() - training.trained[late:].mean())
    evaluated = float(validation.evaluated[late:].mean() - training.evaluated[late:].mean())
    return evaluated > SOMEWHAT * validation.scale and trained < 0.5 * evaluated


def average_is_sound(case: Case, found: Modes) -> bool:
    """Whether weights are averaged, and what is evaluated, the average, is nearer to training mode than to evaluation mode."""
    losses = case.chart.points("val.loss")[1]
    if case.facts.get("training.ema") is None or found.name != VALIDATION_BATCH or not len(losses):
        return False
    return float(losses[-1]) < 0.5 * float(found.trained[-1] + found.evaluated[-1])


def prepared_differently(case: Case) -> Signs | None:
    """Validation samples that are worse in evaluation mode, where training samples prepared as they are fare alike in both."""
    found, training = _only_validation_apart(case), modes_of(case, TRAINING)
    if found is None or training is None or not _gone_in_training_mode(found, training) or average_is_sound(case, found):
        return None
    text = (
        f"Validation samples have loss {figure(float(found.trained[-1]))} in training mode and "
        f"{figure(float(found.evaluated[-1]))} in evaluation mode, training samples without augmentation "
        f"{figure(float(training.trained[-1]))} and {figure(float(training.evaluated[-1]))}: the network's statistics fit "
        "training images and not validation's, which come to it in another way."
    )
    evidence = tuple(
        Evidence(f"{one.name}.eval_mode", float(one.evaluated[-1]), float(one.epochs[-1]), expected=float(one.trained[-1]),
                 basis="training mode, where each batch is normalised by itself")
        for one in (found, training)
    )  # fmt: skip
    actions = (
        "compare mean, spread and range of the pixels of both splits as the network receives them",
        "look for a step of the preparation that one of the two paths leaves out: range, inversion, CLAHE, resizing",
    )
    return Signs(text, evidence, "warning", 0.8, (), actions, (found.since,))
