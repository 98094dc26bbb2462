"""Figures: the contract's object, with thresholds from val, whatever the task and whatever is missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from osler.config import EvaluationConfig, SensitivityTarget
from osler.errors import RequestError
from osler.evaluate import Evaluation, evaluate
from osler.metrics.decision import choose_threshold
from osler.runs.card import Card
from osler.runs.predictions import Predictions

QUICK = EvaluationConfig(bootstrap=100)
FIGURES = ("auc", "ap", "sensitivity", "specificity", "precision", "f1", "mcc", "brier", "ece", "balanced_accuracy", "accuracy")


def card_of(task: str, *classes: str, **fields: Any) -> Card:
    thresholds = {} if task == "multiclass" else dict.fromkeys(classes, 0.5)
    card = Card(task, classes, "normal", "small", {}, "", thresholds, "fixed in the card", "raw", 1, {})
    return replace(card, **fields)


def predictions_of(targets: Any, probabilities: Any, patients: NDArray[np.str_] | None = None) -> Predictions:
    targets, probabilities = np.asarray(targets, np.float32), np.asarray(probabilities, np.float32)
    ids = np.array([str(row) for row in range(len(targets))])
    return Predictions(ids, targets, np.zeros_like(targets), probabilities, patients)


def drawn(classes: int, size: int = 120, seed: int = 0, skill: float = 0.3) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = (rng.random((size, classes)) < 0.3).astype(np.float32)
    return predictions_of(targets, np.clip(0.3 + skill * targets + 0.15 * rng.normal(size=targets.shape), 0, 1))


def strict(evaluation: Evaluation) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(evaluation.json_text(), parse_constant=refuse)


def test_the_object_is_the_contracts() -> None:
    found = strict(evaluate(Path("runs/a"), card_of("multilabel", "a", "b"), QUICK, {"val": drawn(2), "test": drawn(2, seed=1)}))
    assert found["schema"] == "osler.evaluation/1"
    assert found["checkpoint"] == "best"
    assert list(found["splits"]) == ["val", "test"]
    test = found["splits"]["test"]
    assert (test["n"], test["patients"], test["macro"]["classes_scored"]) == (120, None, 2)
    for entry in (test["macro"], *test["classes"].values()):
        for name in FIGURES:
            assert {"value", "low", "high", "n", "method"} <= entry[name].keys()
            assert entry[name]["low"] <= entry[name]["value"] <= entry[name]["high"]
    one = test["classes"]["a"]
    (tn, fp), (fn, tp) = one["confusion"]
    assert fn + tp == one["positives"]
    assert tn + fp + fn + tp == 120
    assert one["sensitivity"]["value"] == pytest.approx(tp / (tp + fn))


def test_a_binary_task_has_one_class_and_macro_equals_it() -> None:
    found = strict(evaluate(Path("r"), card_of("binary", "nodule"), QUICK, {"val": drawn(1), "test": drawn(1, seed=1)}))
    test = found["splits"]["test"]
    assert list(test["classes"]) == ["nodule"]
    for name in FIGURES:
        assert test["macro"][name] == test["classes"]["nodule"][name] == test["overall"][name]


def test_thresholds_come_from_val_and_test_has_no_part_in_them() -> None:
    val = drawn(1)
    first = evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": val, "test": drawn(1, seed=1)})
    second = evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": val, "test": drawn(1, seed=2, skill=0.05)})
    expected = choose_threshold("youden", val.targets[:, 0], val.probabilities[:, 0])
    assert first.thresholds == second.thresholds == {"a": expected}
    assert strict(first)["splits"]["test"]["classes"]["a"]["threshold"] == expected


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("youden", "the largest sensitivity + specificity on val"),
        ("f1", "the largest F1 on val"),
        (0.25, "fixed at 0.25"),
        (SensitivityTarget(sensitivity=0.9), "a sensitivity of at least 0.9 on val"),
    ],
)
def test_every_rule_is_followed_and_said(rule: Any, words: str) -> None:
    val = drawn(1)
    config = EvaluationConfig(threshold=rule, bootstrap=100)
    found = evaluate(Path("r"), card_of("binary", "a"), config, {"val": val})
    assert found.thresholds["a"] == choose_threshold(rule, val.targets[:, 0], val.probabilities[:, 0])
    assert words in found.rule


def test_other_data_are_judged_by_the_cards_thresholds() -> None:
    card = card_of("binary", "a", thresholds={"a": 0.123})
    found = evaluate(Path("r"), card, QUICK, {"val": drawn(1), "external": drawn(1)}, source="other.csv")
    assert found.thresholds == {"a": 0.123}
    assert found.rule == "fixed in the card"
    assert strict(found)["source"] == "other.csv"


def test_an_absent_class_is_undefined_with_its_reason_and_left_out_of_means() -> None:
    test = drawn(2)
    test.targets[:, 1] = 0
    found = strict(evaluate(Path("r"), card_of("multilabel", "a", "b"), QUICK, {"val": drawn(2, seed=1), "test": test}))[
        "splits"
    ]["test"]
    assert found["classes"]["b"]["auc"]["value"] is None
    assert found["classes"]["b"]["auc"]["reason"] == "no positives"
    assert found["not_scored"] == {"b": "no positives"}
    assert found["macro"]["classes_scored"] == 1
    assert found["macro"]["auc"]["value"] == found["classes"]["a"]["auc"]["value"]


def test_a_class_without_a_threshold_has_no_decisions() -> None:
    val = drawn(2)
    val.targets[:, 1] = 0
    evaluation = evaluate(Path("r"), card_of("multilabel", "a", "b"), QUICK, {"val": val, "test": drawn(2, seed=1)})
    assert math.isnan(evaluation.thresholds["b"])
    one = strict(evaluation)["splits"]["test"]["classes"]["b"]
    assert one["threshold"] is None
    assert one["confusion"] is None
    assert one["sensitivity"]["value"] is None
    assert one["auc"]["value"] is not None


def test_unknown_targets_are_left_out() -> None:
    test = drawn(1)
    test.targets[:20] = np.nan
    figures = strict(evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": drawn(1), "test": test}))["splits"]["test"]
    assert figures["n"] == 120
    assert figures["classes"]["a"]["auc"]["n"] == 100
    assert sum(map(sum, figures["classes"]["a"]["confusion"])) == 100


def test_exclusive_classes_are_called_by_the_most_probable_one() -> None:
    targets = np.eye(3)[[0, 0, 1, 1, 2, 2, 2]]
    targets[6, 2] = np.nan
    probabilities = np.eye(3)[[0, 1, 1, 1, 2, 0, 0]] * 0.6 + 0.1
    found = strict(
        evaluate(Path("r"), card_of("multiclass", "x", "y", "z"), QUICK, {"test": predictions_of(targets, probabilities)})
    )
    figures = found["splits"]["test"]
    assert found["threshold_rule"] == "the most probable class"
    assert figures["classes"]["x"]["threshold"] is None
    assert figures["confusion_matrix"] == {"classes": ["x", "y", "z"], "counts": [[1, 1, 0], [0, 2, 0], [1, 0, 1]]}
    assert figures["overall"]["accuracy"]["value"] == pytest.approx(4 / 6)
    assert figures["classes"]["x"]["confusion"] == [[3, 1], [1, 1]]


def test_subgroups_are_the_figures_of_their_samples() -> None:
    test = drawn(1, size=200)
    sex = np.where(np.arange(200) < 120, "F", "M")
    test = replace(test, metadata=pd.DataFrame({"sex": sex}))
    figures = strict(evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": drawn(1), "test": test}))["splits"]["test"]
    groups = figures["subgroups"]["sex"]
    assert {name: group["n"] for name, group in groups.items()} == {"F": 120, "M": 80}
    women = predictions_of(test.targets[:120], test.probabilities[:120])
    alone = strict(evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": drawn(1), "test": women}))["splits"]["test"]
    assert groups["F"]["classes"]["a"]["auc"] == alone["classes"]["a"]["auc"]


def test_small_groups_say_so() -> None:
    targets = np.array([[1.0]] * 2 + [[0.0]] * 20 + [[1.0]] * 20 + [[0.0]] * 20)
    view = np.where(np.arange(62) < 22, "AP", "PA")
    test = replace(predictions_of(targets, np.linspace(0.9, 0.1, 62)[:, None]), metadata=pd.DataFrame({"view": view}))
    groups = strict(evaluate(Path("r"), card_of("binary", "a"), QUICK, {"test": test}))["splits"]["test"]["subgroups"]["view"]
    assert groups["AP"]["note"] == "fewer than 5 positives or negatives: a"
    assert "note" not in groups["PA"]


def test_patients_are_counted_and_widen_intervals() -> None:
    one = drawn(1, size=60)
    parts = [np.repeat(array, 4, axis=0) for array in (one.targets, one.probabilities)]
    alone = predictions_of(*parts)
    grouped = predictions_of(*parts, patients=np.repeat([f"p{n}" for n in range(60)], 4))
    entries = []
    for test in (alone, grouped):
        figures = strict(evaluate(Path("r"), card_of("binary", "a"), QUICK, {"val": one, "test": test}))["splits"]["test"]
        entries.append(figures["classes"]["a"]["sensitivity"])
    assert figures["patients"] == 60
    assert entries[1]["n_patients"] == int(one.targets.sum())
    assert entries[1]["high"] - entries[1]["low"] > 1.5 * (entries[0]["high"] - entries[0]["low"])


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(RequestError, match="no predictions"):
        evaluate(Path("r"), card_of("binary", "a"), QUICK, {})


def test_the_terminal_summary_holds_the_figures() -> None:
    test = drawn(2)
    test.targets[:, 1] = 0
    found = evaluate(
        Path("r"), card_of("multilabel", "a", "b"), QUICK, {"val": drawn(2, seed=1), "test": test}, looks={"test": 3}
    )
    text = found.summary()
    auc = found.data()["splits"]["test"]["macro"]["auc"]["value"]
    assert f"{auc:.3f}" in text
    assert "Not scored: b (no positives)" in text
    assert "Looks at test: 3" in text
    assert "On 120 test samples" in text
