"""What a run that has ended came to: whether it is worth anything."""

from __future__ import annotations

import math

import numpy as np

from osler.doctor.case import LOW_OVERLAP, USELESS, Case
from osler.doctor.findings import Evidence, figure

__all__ = ["NO_SKILL", "ended", "next_to_nothing"]

# Skill that is no use in validation, and in training, where samples learned by heart add to it.
LITTLE_SKILL = {"val": 0.05, "train": 0.1}
# Scores under which little was learned: the best of validation, and where training came to rest. An AUC alone, without a skill
# beside it, must be lower to say so.
LITTLE = {"auc": (0.7, 0.7), "dice": (0.4, 0.5), "iou": (0.25, 0.33)}
ALONE = 0.65
# A Dice may be small where lesions are, and worth much: by its loss, and by not being nothing.
WORTH = 0.4
# What a constant prediction does by rounding and chance is no skill.
NO_SKILL = 0.02
# Ends that are none.
CUT_SHORT = ("interrupt", "ended by")
FEWEST_EPOCHS = 10


def ended(case: Case) -> bool:
    """Whether all was run that was planned, or the run says that it stopped; a log that says neither ends where it ends."""
    reason = str(case.facts.get("stop_reason") or "").lower()
    if any(word in reason for word in CUT_SHORT) or case.chart.axis not in ("epoch", "row"):
        return False
    if reason or float(case.chart.ordinals[-1]) >= case.planned:
        return True
    return case.chart.reader != "osler" and not math.isfinite(case.planned) and len(case.chart) >= FEWEST_EPOCHS


def next_to_nothing(case: Case) -> tuple[str, tuple[Evidence, ...]] | None:
    """That a run has ended and next to nothing was learned, in words and figures; None where more was, or nobody knows.

    Both splits must say so, each by every figure that it has: a score that ranks well, or a loss well under its floor, is
    something learned, whatever the other says.
    """
    name = next((each for each in LITTLE if case.chart.has(f"val.{each}", f"train.{each}", points=3)), None)
    if name is None or case.early or not ended(case):
        return None
    skills = {split: _best(case.skill(split)) for split in LITTLE_SKILL}
    if _worth_something(case, name, skills):
        return None
    most = LITTLE[name] if name != "auc" or all(map(math.isfinite, skills.values())) else (ALONE, ALONE)
    best = _best(case.chart.values(f"val.{name}"))
    trained = case.chart.points(f"train.{name}")[1]
    rest = float(trained[-max(3, len(trained) // 4) :].mean())
    if best >= most[0] or rest >= most[1]:
        return None
    epoch = float(case.chart.epochs[-1])
    text = f"val.{name} was {figure(best)} at best and train.{name} is {figure(rest)} in the last epochs"
    evidence = [Evidence(f"val.{name}", best, epoch, expected=most[0], basis="best epoch; less is of little use"),
                Evidence(f"train.{name}", rest, epoch, expected=most[1], basis="mean of the last epochs")]  # fmt: skip
    if math.isfinite(skills["val"]) and not case.segmentation:
        text += f"; val.loss lies under its floor by {max(skills['val'], 0.0):.1%} at most"
        evidence.append(Evidence("val.skill", skills["val"], epoch, expected=LITTLE_SKILL["val"], basis="best epoch"))
    return f"Next to nothing was learned in {len(case.chart)} epochs: {text}.", tuple(evidence)


def _worth_something(case: Case, name: str, skills: dict[str, float]) -> bool:
    """Whether a loss well under its floor, or an AUC that is of use beyond its error, speaks for what was learned."""
    if case.segmentation:
        return skills["val"] > WORTH and _best(case.chart.values(f"val.{name}")) >= LOW_OVERLAP
    if any(value > LITTLE_SKILL[split] for split, value in skills.items()):
        return True
    if skills["val"] <= NO_SKILL:
        return False  # a ranking that no probability makes anything of
    lows = case.auc_ends("val")[0]
    return name == "auc" and bool(np.isfinite(lows).any()) and float(np.nanmax(lows)) > USELESS


def _best(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if np.isfinite(values).any() else math.nan
