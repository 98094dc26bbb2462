"""The tests of a checkup, in order of worth: what costs little and finds much comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from osler.checkup.check import Check
from osler.checkup.counting import check_counts, check_draw
from osler.checkup.fitting import check_overfit
from osler.checkup.forecast import check_forecast
from osler.checkup.labels import check_labels
from osler.checkup.patient import Patient
from osler.checkup.pixels import check_inputs, check_leak, check_splits
from osler.checkup.rates import check_rate
from osler.checkup.settings import check_settings
from osler.checkup.starts import check_activation, check_direction, check_start, check_weight
from osler.checkup.strength import check_augmentation
from osler.checkup.wiring import check_gradients, check_modes, check_reading

__all__ = ["TESTS", "Test"]

Run = Callable[[Patient, float], Sequence[Check]]


@dataclass(frozen=True)
class Test:
    """One test.

    Attributes:
        asks: the question that it answers.
        run: holds it, until a `time.perf_counter()`.
        steps: training steps that it takes about; it is not begun where there is no time for them.
        share: of the time left that it may take.
        quick: whether it belongs to the half that `osler train --checkup` runs.
    """

    asks: str
    run: Run
    steps: int = 0
    share: float = 1.0
    quick: bool = True


def _untimed(test: Callable[[Patient], Sequence[Check]]) -> Run:
    return lambda patient, _: test(patient)


TESTS: dict[str, Test] = {
    "counts": Test("Do the labels arrive as the source states them?", _untimed(check_counts)),
    "settings": Test("Do weights, sampler, schedule, phases and splits fit the data and each other?", _untimed(check_settings)),
    "draw": Test("What is drawn: each class and none, batches without positives, repeats, order?", _untimed(check_draw)),
    "forecast": Test("How long will it take, and how much memory and disk?", _untimed(check_forecast)),
    "inputs": Test("Is there an image in what the model receives, and in the right range?", _untimed(check_inputs)),
    "start": Test("Does the loss start at its floor?", _untimed(check_start)),
    "direction": Test("Does the loss reward what is right?", _untimed(check_direction)),
    "weight": Test("Is the configured weight in force, and is it sound?", _untimed(check_weight)),
    "activation": Test("Is the output's activation applied once?", _untimed(check_activation)),
    "reading": Test("Does the output depend on the image?", _untimed(check_reading)),
    "gradients": Test("Do gradient and optimiser reach all that should learn, and nothing else?", _untimed(check_gradients), 4),
    "splits": Test("Are train and val prepared alike?", _untimed(check_splits), 8),
    "leak": Test("Do images or patients of val stand in train?", _untimed(check_leak), 4),
    "overfit": Test("Can one batch be learnt by heart, and from the images?", check_overfit, 60, 0.4, quick=False),
    "rate": Test("Which learning rate is sound, and is the one in use?", check_rate, 70, 0.5, quick=False),
    "labels": Test("Do images and labels belong together?", check_labels, 0, 0.6, quick=False),
    "modes": Test("Is evaluation mode steady, and like training mode?", _untimed(check_modes), 60, 0.6, quick=False),
    "augmentation": Test("Are the classes still to be told after augmentation?", _untimed(check_augmentation), 10, quick=False),
}
