"""Doses from what was measured: how far a learning rate is off shows in the size of the steps.

A step usually moves the weights by about a thousandth of their norm. The doctor's rates go by tens, which is right where one
tries and looks; a treatment has three attempts, and a rate that is ten thousand times too low would need four.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from osler.doctor.chart import Chart
from osler.doctor.findings import Change

__all__ = ["measured_dose"]

RATE = "training.learning_rate"
USUAL = 1e-3
"""Norm of a step over the norm of the weights, of a network that learns."""
THROWN, SOUND_START = 0.5, 0.03
"""The largest single step: where it leaves little of the network that it found, and that of a small network's sound start."""
MOST = 1e6


def measured_dose(change: Change, chart: Chart | None) -> Change:
    """A change of the learning rate, enlarged to what the size of the steps asks for; any other change as it is.

    The direction stays the doctor's, and so does the dose where the steps ask for less, or where nobody measured them.

    Args:
        change: of any setting.
        chart: of the run.
    """
    before, after = change.before, change.after
    if change.key != RATE or chart is None or not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
        return change
    ratios = chart.points("update_ratio.median")[1]
    if not len(ratios) or not before > 0 or not after > 0:
        return change
    steps, usual = _telling_steps(ratios, chart.points("update_ratio.max")[1])
    wanted = float(np.clip(usual / steps, 1 / MOST, MOST))
    factor = after / before
    if (factor > 1 and wanted <= factor) or (factor < 1 and wanted >= factor) or factor == 1:
        return change
    why = f"steps are {steps:.2g} of the weights' norm, and {usual:g} is usual: {wanted:.2g} times the rate"
    return replace(change, after=float(f"{before * wanted:.2g}"), why=why)


def _telling_steps(medians: NDArray[np.float64], largest: NDArray[np.float64]) -> tuple[float, float]:
    """The steps to go by, and what they should be.

    A rate that is too high makes the weights grow, and all later ratios fall: the largest of the epochs' medians tells; and
    where one step threw the network out, that step, as the median of its own epoch is of the weights that it left.
    """
    if len(largest) and largest.max() > THROWN and largest.max() / SOUND_START > medians.max() / USUAL:
        return float(largest.max()), SOUND_START
    return float(medians.max()), USUAL
