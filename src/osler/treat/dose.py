"""Doses from what was measured: how far a learning rate is off shows in the size of the steps.

A step usually moves the weights by about a thousandth of their norm. The doctor's rates go by tens, which is right where one
tries and looks; a treatment has three attempts, and a rate that is ten thousand times too low would need four.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from osler.doctor.chart import Chart
from osler.doctor.findings import Change

__all__ = ["measured_dose"]

RATE = "training.learning_rate"
USUAL = 1e-3
"""Norm of a step over the norm of the weights, of a network that learns."""
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
    # A rate that is too high makes the weights grow, and the ratio fall: the first epochs, and the largest, tell.
    wanted = float(np.clip(USUAL / ratios.max(), 1 / MOST, MOST))
    factor = after / before
    if (factor > 1 and wanted <= factor) or (factor < 1 and wanted >= factor) or factor == 1:
        return change
    why = f"steps are {ratios.max():.1e} of the weights' norm, and {USUAL:g} is usual: {wanted:.2g} times the rate"
    return replace(change, after=float(f"{before * wanted:.2g}"), why=why)
