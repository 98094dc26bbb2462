"""The verdict: what it says of clear cases, and how seldom it is wrong where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.errors import RunError
from osler.metrics.cases import CaseTable, measure_case
from osler.runs.mask_predictions import MaskPredictions
from osler.runs.predictions import Predictions
from osler.treat.proof import Evidence, compare, judge

N = 160


def predictions(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> Predictions:
    ids = np.array([f"{k:04d}" for k in range(len(targets))])
    values = logits.astype(np.float32)[:, None]
    return Predictions(ids, targets.astype(np.float32)[:, None], values, 1 / (1 + np.exp(-values)), ids)


def arm(targets: NDArray[np.float64], strength: float, seed: int, shift: float = 0.0) -> Predictions:
    noise = np.random.default_rng(seed).normal(size=len(targets))
    return predictions(strength * (targets - 0.5) + noise + shift, targets)


def labels(seed: int = 0, n: int = N, share: float = 0.3) -> NDArray[np.float64]:
    return (np.random.default_rng(seed).random(n) < share).astype(float)


def verdict(treated: float, control: float, n: int = N, measure: str = "auc", share: float = 0.3) -> str:
    targets = labels(n=n, share=share)
    evidence = Evidence(measure, "binary", [arm(targets, treated, 1)], {"the re-run": [arm(targets, control, 2)]})
    return judge([evidence], 3)[0].verdict


def test_clear_cases() -> None:
    assert verdict(2.5, 0.0) == "helped"
    assert verdict(0.0, 2.5) == "harmed"
    assert verdict(2.0, 2.0, n=3000) == "not shown"
    assert verdict(1.0, 0.6, n=40) == "cannot be shown"
    assert verdict(3.0, 0.0, n=60, share=0.03) == "cannot be shown"


def test_what_would_be_needed_is_said() -> None:
    targets = labels(n=40)
    proof = judge([Evidence("auc", "binary", [arm(targets, 1.0, 1)], {"the re-run": [arm(targets, 0.6, 2)]})], 3)[0]
    assert "needs about" in proof.reason
    assert proof.to_json()["comparisons"][0]["difference"]["low"] < 0


def test_every_control_must_be_beaten() -> None:
    targets = labels()
    treated, bad, good = (arm(targets, strength, seed) for strength, seed in ((2.5, 1), (0.0, 2), (2.5, 3)))
    proof = judge([Evidence("auc", "binary", [treated], {"the re-run": [bad], "the random change": [good]})], 3)[0]
    assert proof.verdict != "helped"
    assert len(proof.comparisons) == 2


def test_attempts_are_corrected_for() -> None:
    targets = labels()
    one = Evidence("auc", "binary", [arm(targets, 1.1, 5)], {"the re-run": [arm(targets, 0.75, 8)]})
    alone, of_many = judge([one], 1)[0], judge([one], 10)[0]
    assert alone.verdict == "helped"
    assert of_many.p == pytest.approx(10 * alone.p)
    assert of_many.verdict != "helped"


def test_an_arm_that_left_no_model_is_a_constant_prediction() -> None:
    targets = labels()
    proof = judge([Evidence("auc", "binary", [arm(targets, 2.5, 1)], {"the re-run": [None]})], 3)[0]
    assert proof.comparisons[0].second == 0.5
    assert proof.verdict == "helped"
    lost = judge([Evidence("auc", "binary", [None], {"the re-run": [arm(targets, 2.5, 1)]})], 3)[0]
    assert lost.verdict == "harmed"


def test_a_cure_of_weights_must_not_cost_ranking() -> None:
    targets = labels(n=400)
    treated = arm(targets, 1.0, 1)
    control = predictions(6 * (targets - 0.5) + np.random.default_rng(2).normal(size=400) - 8, targets)
    proof = judge([Evidence("balanced_accuracy_half", "binary", [treated], {"the re-run": [control]})], 3)[0]
    assert proof.comparisons[0].difference.low > 0
    assert proof.guard[0].difference.high < 0
    assert proof.verdict == "harmed"
    assert "AUC fell" in proof.reason


def test_other_samples_cannot_be_paired() -> None:
    with pytest.raises(RunError, match="other samples"):
        compare("auc", "binary", "the re-run", [arm(labels(n=50), 1, 1)], [arm(labels(n=60), 1, 1)], 0.95)


@pytest.mark.parametrize(("attempts", "seeds"), [(1, 1), (3, 1), (1, 3)])
def test_false_verdicts_are_rare_where_nothing_differs(attempts: int, seeds: int) -> None:
    """All attempts of a treatment share one re-run; alpha is that of all of them together, for each direction a half."""
    generator = np.random.default_rng(11)
    wrong = []
    for _ in range(250):
        targets = (generator.random(120) < 0.3).astype(float)
        easy = 0.8 * generator.normal(size=120)  # what all trainings find equally hard

        def made(targets: NDArray[np.float64] = targets, easy: NDArray[np.float64] = easy) -> list[Predictions | None]:
            strengths = 1.0 + 0.3 * generator.normal(size=seeds) * (seeds > 1)
            return [predictions(s * (targets - 0.5) + easy + generator.normal(size=120), targets) for s in strengths]

        rerun = made()
        proofs = judge([Evidence("auc", "binary", made(), {"the re-run": rerun}) for _ in range(attempts)], attempts)
        wrong.append(any(proof.verdict in ("helped", "harmed") for proof in proofs))
    assert np.mean(wrong) < 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 250)


def test_masks_are_compared_by_case() -> None:
    generator = np.random.default_rng(12)
    sides: list[list[MaskPredictions | None]] = [[], []]
    truths = [np.pad(np.ones((1, 4, 4), np.uint8), ((0, 0), (2, 10), (2, 10))) for _ in range(12)]
    for side, miss in ((0, 0.1), (1, 0.7)):
        cases = []
        for truth in truths:
            called = (truth == 1) & (generator.random(truth.shape) > miss)
            cases.append(measure_case(np.where(called, 200, 20).astype(np.uint8), truth, [128]))
        ids = np.array([str(k) for k in range(12)])
        sides[side].append(MaskPredictions(ids, ("lesion",), CaseTable.of(cases, [128]).arrays()))
    proof = judge([Evidence("dice", "segmentation", sides[0], {"the re-run": sides[1]})], 3)[0]
    assert proof.verdict == "helped"
    assert proof.comparisons[0].first > 0.8
