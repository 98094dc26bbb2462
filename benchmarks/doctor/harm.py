"""What a fault did to its runs, and which healthy runs are healthy: from scores on the fixed test set, never from the doctor.

Harm. For every seed the fault's run is set against the plain healthy run of the same seed, on the measure that the fault can
harm, and divided by what the healthy runs gain over chance. With the 95 % interval (Student's t over seeds) of the mean:

    killed      the interval lies above 0 and the mean is at least 0.05
    equivalent  otherwise, and the interval ends below 0.10
    undecided   all else; three more seeds are run
    unseen      the fault can lower no score on a sound test set (a false declaration): nothing to measure

Where a fault was run with fewer than five seeds, whose own scatter says little, its runs are set against all plain ones, of which
there must be eight: the interval is that of the difference of two means, by Welch where the fault's runs scatter more.

Of masks the measure is the test Dice in place of AUC, F1 and skill; it stands at 0.5, and chance is every pixel called.

At five seeds an interval above 0 needs a difference of 1.24 standard deviations, more than the 0.5 that DeepCrime asks for.

Healthy. A run of the healthy arm is kept where its test AUC is above 0.5 (Hanley and McNeil, 95 %) and gains at least three
quarters of what the plain runs of its task gain on average; of masks, its test Dice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from faults import DOUBLES, FAULTS
from numpy.typing import NDArray

from osler.metrics.intervals import hanley_mcneil_se
from osler.metrics.proportion import student_quantile
from tasks import TASKS

__all__ = ["HARMS", "Harm", "harm_of", "harms", "is_healthy", "measured"]

Verdict = Literal["killed", "equivalent", "undecided", "unseen"]
HARMS: tuple[Verdict, ...] = ("killed", "equivalent", "undecided", "unseen")
LEAST, MOST = 0.05, 0.10
SHARE = 0.75
LEAST_GAIN = 0.2
"""Where healthy runs gain less than this over chance, a share of it says nothing; the loss is taken against this instead."""
FEWEST_PLAIN = 8
FEWEST_PAIRED = 5
"""Seeds from which on a fault's runs are set against the plain ones of the same seeds."""
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Harm:
    """The harm of a fault at a level, on a task.

    Attributes:
        mean: share of the healthy gain that is lost; NaN where nothing was measured.
        low, high: its 95 % interval over seeds.
        n: seeds.
    """

    verdict: Verdict
    mean: float
    low: float
    high: float
    n: int


def measured(record: Record, measure: str) -> float:
    """The measure of one run; higher is better."""
    scores, figure = record["scores"], headline(record)
    if measure == "honesty":
        told = scores[f"val_{figure}"]
        return -abs(float(chance(record, figure) if told is None else told) - float(scores["best"][figure]))
    value = scores["best"]["dice" if figure == "dice" else measure]
    # No skill at all is the least that a probability can be blamed for: below it lies only how wrong.
    return -1.0 if value is None else max(float(value), -1.0)


def headline(record: Record) -> str:
    """The figure that a run is chosen by: dice where it segments, else auc."""
    return "dice" if "dice" in record["scores"]["best"] else "auc"


def chance(record: Record, measure: str) -> float:
    """What a run without skill has on a measure."""
    if headline(record) == "dice":
        return float(record["scores"]["best"]["dice_floor"])
    if measure == "f1":
        floor = record["scores"]["best"]["f1_floor"]
        return float(floor) if floor is not None else 0.0
    return 0.5 if measure == "auc" else 0.0


def harm_of(ill: Mapping[int, Record], well: Mapping[int, Record], measure: str) -> Harm:
    """The harm from runs by seed.

    Args:
        ill: of the fault.
        well: the plain healthy runs.
        measure: of the fault.
    """
    seeds = sorted(set(ill) & set(well))
    few = 1 <= len(seeds) < FEWEST_PAIRED and len(well) >= FEWEST_PLAIN
    if measure == "none" or (len(seeds) < 2 and not few):
        return Harm("unseen" if measure == "none" else "undecided", math.nan, math.nan, math.nan, len(seeds))
    if measure == "honesty":
        gain = float(np.mean([measured(record, "auc") - chance(record, "auc") for record in well.values()]))
    else:
        gain = float(np.mean([measured(record, measure) - chance(record, measure) for record in well.values()]))
    gain = max(gain, LEAST_GAIN)
    if few:
        plain = np.array([measured(record, measure) for record in well.values()])
        lost = (plain.mean() - np.array([measured(ill[seed], measure) for seed in seeds])) / gain
        spread = float(plain.std(ddof=1)) / gain
        half = _half_width(lost, spread, len(plain))
    else:
        lost = np.array([measured(well[seed], measure) - measured(ill[seed], measure) for seed in seeds]) / gain
        half = student_quantile(0.95, len(seeds) - 1) * float(lost.std(ddof=1)) / math.sqrt(len(seeds))
    mean = float(lost.mean())
    low, high = mean - half, mean + half
    verdict: Verdict = "killed" if low > 0 and mean >= LEAST else "equivalent" if high < MOST else "undecided"
    return Harm(verdict, mean, low, high, len(seeds))


def _half_width(lost: NDArray[np.float64], spread: float, plain: int) -> float:
    """Half of the 95 % interval of a few runs' mean against that of plain ones, by Welch where theirs is the wider scatter."""
    n, own = len(lost), float(lost.std(ddof=1)) if len(lost) > 1 else 0.0
    if own <= spread:
        return student_quantile(0.95, plain - 1) * spread * math.sqrt(1 / n + 1 / plain)
    first, second = own**2 / n, spread**2 / plain
    freedom = (first + second) ** 2 / (first**2 / (n - 1) + second**2 / (plain - 1))
    return student_quantile(0.95, freedom) * math.sqrt(first + second)


def harms(records: Sequence[Record]) -> dict[tuple[str, str, str], Harm]:
    """The harm of every fault by task, fault and level; of double faults by the first one's measure."""
    ill: dict[tuple[str, str, str], dict[int, Record]] = defaultdict(dict)
    well: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        label = record["label"]
        if "scores" not in record:
            continue
        if label["arm"] != "healthy":
            ill[label["task"], label["fault"], label["level"]][label["seed"]] = record
        elif label["fault"] == "plain":
            well[label["task"]][label["seed"]] = record
    return {key: harm_of(runs, well[key[0]], FAULTS[DOUBLES.get(key[1], (key[1],))[0]].measure) for key, runs in ill.items()}


def is_healthy(records: Iterable[Record]) -> dict[tuple[str, str, int], bool]:
    """Whether each run of the healthy arm is a healthy run, by task, variant and seed."""
    runs = [record for record in records if record["label"]["arm"] == "healthy" and "scores" in record]
    plain: dict[str, list[float]] = defaultdict(list)
    for record in runs:
        if record["label"]["fault"] == "plain":
            plain[record["label"]["task"]].append(measured(record, "auc"))
    found: dict[tuple[str, str, int], bool] = {}
    for record in runs:
        label, score, least = record["label"], measured(record, "auc"), chance(record, "auc")
        gain = SHARE * (float(np.mean(plain[label["task"]])) - least)
        found[label["task"], label["fault"], label["seed"]] = score - least >= gain and _above_chance(record)
    return found


def _above_chance(record: Record) -> bool:
    """Whether the test AUC is; a Dice that has three quarters of the healthy gain always is."""
    if headline(record) == "dice":
        return True
    auc, n, floor = measured(record, "auc"), TASKS[record["label"]["task"]].test, chance(record, "f1")
    positives = n * floor / (2 - floor)  # the F1 of calling all positive is 2π / (1 + π)
    error = float(hanley_mcneil_se(np.array(max(auc, 0.5)), np.array(positives), np.array(n - positives)))
    return auc - 1.96 * error > 0.5
