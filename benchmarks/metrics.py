"""Ranking figures beside scikit-learn's: speed and equality, both sides in one run.

    python benchmarks/metrics.py [--images 112120] [--bootstraps 1000]

The set has the shape of NIH ChestX-ray14: 14 labels with its prevalences, scores of single precision. scikit-learn's loop over
bootstraps is timed on 20 of them and scaled. Errors are against scikit-learn (AUC, AP), the O(n²) formula on 2,000 of the
images (variance), and scikit-learn with the same weights (bootstraps).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from osler.metrics.bootstrap import bootstrap_ranking, resample
from osler.metrics.ranking import aucs_with_variances, average_precision, rank
from osler.metrics.summary import class_vitals, summarise

Labels = NDArray[np.float64]
Scores = NDArray[np.float32]

PREVALENCES = (0.103, 0.025, 0.119, 0.178, 0.052, 0.056, 0.013, 0.047, 0.042, 0.021, 0.022, 0.015, 0.030, 0.002)
LOOPS = 20
IN_PAIRS = 2000


def fastest(act: Callable[[], Any], times: int) -> tuple[float, Any]:
    """The least time of several runs, in seconds, and what the last returned."""
    best, result = float("inf"), None
    for _ in range(times):
        begun = time.perf_counter()
        result = act()
        best = min(best, time.perf_counter() - begun)
    return best, result


def chest_like(images: int) -> tuple[Labels, Scores]:
    """Labels and scores of an AUC of about 0.8."""
    rng = np.random.default_rng(0)
    targets = (rng.random((images, len(PREVALENCES))) < PREVALENCES).astype(np.float64)
    return targets, (rng.normal(size=targets.shape) + 1.2 * targets).astype(np.float32)


def quadratic_variance(labels: Labels, scores: Scores) -> float:
    """DeLong's variance over all pairs of a positive and a negative."""
    order = np.sign(scores[labels == 1][:, None].astype(np.float64) - scores[labels == 0][None, :])
    pairs = (order + 1) / 2
    return float(pairs.mean(1).var(ddof=1) / pairs.shape[0] + pairs.mean(0).var(ddof=1) / pairs.shape[1])


def aucs_row(targets: Labels, scores: Scores) -> tuple[str, ...]:
    """All AUCs with their variances, beside scikit-learn's AUCs alone."""
    classes = range(targets.shape[1])
    ours, (areas, variances) = fastest(lambda: aucs_with_variances(targets, scores), 5)
    theirs, expected = fastest(lambda: [roc_auc_score(targets[:, k], scores[:, k]) for k in classes], 3)
    error = float(np.abs(areas - expected).max())
    few, some = targets[:IN_PAIRS], scores[:IN_PAIRS]
    exact = [quadratic_variance(few[:, k], some[:, k]) for k in classes]
    spread = float(np.nanmax(np.abs(aucs_with_variances(few, some)[1] - exact)))
    assert np.isfinite(variances).all()
    shape = f"{len(classes)} × {len(targets):,}"
    what = f"AUC + DeLong variance (theirs: AUC), {shape}"
    return what, f"{ours:.3f} s", f"{theirs:.3f} s", f"{theirs / ours:.1f}×", f"AUC {error:.0e}, variance {spread:.0e}"


def ap_row(targets: Labels, scores: Scores) -> tuple[str, ...]:
    """All APs."""
    classes = range(targets.shape[1])
    ours, found = fastest(lambda: [average_precision(targets[:, k], scores[:, k]) for k in classes], 5)
    theirs, expected = fastest(lambda: [average_precision_score(targets[:, k], scores[:, k]) for k in classes], 3)
    error = float(np.abs(np.subtract(found, expected)).max())
    return f"AP, {len(classes)} × {len(targets):,}", f"{ours:.3f} s", f"{theirs:.3f} s", f"{theirs / ours:.1f}×", f"{error:.0e}"


def bootstrap_row(images: int, prevalence: float, bootstraps: int) -> tuple[str, ...]:
    """AUC and AP of every resample, beside a loop of scikit-learn's AUC alone."""
    rng = np.random.default_rng(1)
    labels = (rng.random(images) < prevalence).astype(np.float64)
    scores = (rng.normal(size=images) + 1.2 * labels).astype(np.float32)
    ours, (areas, averages) = fastest(lambda: bootstrap_ranking(labels[:, None], scores[:, None], bootstraps=bootstraps), 3)

    def loop() -> None:
        for _ in range(LOOPS):
            rows = rng.integers(0, images, images)
            roc_auc_score(labels[rows], scores[rows])

    theirs = fastest(loop, 2)[0] / LOOPS * bootstraps
    weights = next(resample(images, bootstraps, seed=0))[:, :5]
    expected = [
        (roc_auc_score(labels, scores, sample_weight=w), average_precision_score(labels, scores, sample_weight=w))
        for w in weights.T
    ]
    error = float(np.abs(np.column_stack([areas[:5, 0], averages[:5, 0]]) - expected).max())
    ratio = np.nanstd(areas) / np.sqrt(rank(labels, scores).auc_variance)
    what = f"{bootstraps:,} bootstraps of AUC + AP (theirs: AUC), {images:,} at {prevalence:.0%}"
    return what, f"{ours:.3f} s", f"{theirs:.2f} s", f"{theirs / ours:.0f}×", f"{error:.0e}; spread / DeLong {ratio:.2f}"


def own_rows(targets: Labels, scores: Scores, bootstraps: int) -> list[tuple[str, ...]]:
    """What an epoch and an evaluation cost; scikit-learn has no like."""
    fewer = slice(0, 25_596)
    names = [str(k) for k in range(targets.shape[1])]
    vitals, _ = fastest(lambda: class_vitals(targets, scores, "multilabel"), 3)
    shares = 1 / (1 + np.exp(-scores[fewer]))
    limits = [0.5] * len(names)
    whole, _ = fastest(lambda: summarise(targets[fewer], shares, names, limits, "multilabel", bootstrap=bootstraps), 1)
    shape, part = f"{len(names)} × {len(targets):,}", f"{len(names)} × {len(shares):,}"
    return [
        (f"class_vitals, {shape}", f"{vitals:.3f} s", "", "", ""),
        (f"summarise with {bootstraps:,} bootstraps, {part}", f"{whole:.2f} s", "", "", ""),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=112_120)
    parser.add_argument("--bootstraps", type=int, default=1000)
    options = parser.parse_args()
    targets, scores = chest_like(options.images)
    table = Table("measure", "Osler", "scikit-learn", "faster", "largest error")
    table.add_row(*aucs_row(targets, scores))
    table.add_row(*ap_row(targets, scores))
    for images, prevalence in ((624, 0.625), (25_596, 0.05), (25_596, 0.5)):
        table.add_row(*bootstrap_row(images, prevalence, options.bootstraps))
    for row in own_rows(targets, scores, options.bootstraps):
        table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
