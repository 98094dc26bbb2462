"""The figures are those of Osler's own loop, key by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from osler.adapters.figures import Loss, loss_figures, mean_loss
from osler.adapters.records import LabelSplit, MaskSplit, Watched
from osler.adapters.stated import state
from osler.config import LossConfig, PredictionConfig
from osler.losses import build_loss
from osler.metrics.cases import measure_case
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss
from osler.metrics.overlap import HALF, level_of
from osler.metrics.weights import LabelCounts, resolve_loss
from osler.tasks.classification import Classification
from osler.tasks.segmentation import Segmentation, StagedLoss
from osler.tasks.task import mean_and_error

RANDOM = np.random.default_rng(11)


def split_of(task: str, classes: tuple[str, ...], loss: dict[str, Any], training: bool) -> Any:
    watched = Watched(task, classes, False, state(task, classes, loss, {}))
    return (MaskSplit if task == "segmentation" else LabelSplit)(watched, training)


def same(found: Any, expected: Any, path: str = "") -> None:
    """Equal in keys, and in figures to rounding."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), path
        for key in expected:
            same(found[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, (list, str)) or expected is None:
        assert found == expected, path
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=path)


@pytest.mark.parametrize(
    ("task", "classes", "loss"),
    [
        ("binary", ("cancer",), {"type": "bce", "pos_weight": 4.4}),
        ("multilabel", ("a", "b", "c"), {"type": "focal", "alpha": 0.25, "gamma": 2.0}),
        ("multiclass", ("a", "b", "c"), {"type": "cross_entropy", "class_weights": [1.0, 2.0, 0.5]}),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
def test_figures_of_labels_are_those_of_the_classification_task(
    task: Any, classes: tuple[str, ...], loss: dict[str, Any], broken: bool
) -> None:
    size, count = 90, len(classes)
    logits = RANDOM.normal(size=(size, count))
    targets = np.eye(count)[RANDOM.integers(0, count, size)] if task == "multiclass" else RANDOM.random((size, count)) < 0.2
    targets = targets.astype(np.float64)
    targets[3] = np.nan
    if broken:
        logits[5, 0] = np.nan
    nothing = np.zeros(count)
    spec = resolve_loss(LossConfig(**loss), LabelCounts(task, nothing, nothing))
    terms = build_loss(spec)(torch.tensor(logits), torch.tensor(targets))
    own = Classification(task, classes, None, spec, build_loss(spec))  # type: ignore[arg-type]
    arrays = {"logits": logits, "targets": targets, "values": terms.values.numpy(), "weights": terms.weights.numpy()}
    split = split_of(task, classes, loss, training=False)
    for start in range(0, size, 32):
        split.add(logits[start : start + 32], targets[start : start + 32], None, None)
    found = split.figures(None)
    if broken:
        assert found["loss"].pop("value_reason") == "the loss is not finite"
    same(found, own.figures(arrays))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("loss", [{"type": "combined"}, {"type": "tversky", "tversky_beta": 0.6, "pooled": "case"}])
def test_figures_of_masks_are_those_of_the_segmentation_task(training: bool, loss: dict[str, Any]) -> None:
    outputs = (RANDOM.normal(size=(6, 1, 16, 16)) * 3).astype(np.float32)
    masks = (RANDOM.random((6, 1, 16, 16)) < RANDOM.random((6, 1, 1, 1)) * 0.3).astype(np.uint8)
    masks[2] = 0
    masks[4, 0, :3] = 255
    shares = np.array([[(one == 1).sum() / (one != 255).sum()] for one in masks])
    spec = resolve_mask_loss(LossConfig(**loss), MaskCounts(False, shares, np.full(6, 256.0), 3))
    own = Segmentation(
        ("lesion",), False, None, StagedLoss([(spec, None)]), (3, 3), PredictionConfig(), lambda row: None  # type: ignore[arg-type]
    )  # fmt: skip
    split = split_of("segmentation", ("lesion",), loss, training)
    for start in (0, 3):
        split.add(outputs[start : start + 3], masks[start : start + 3], 0.5, None)
    found = split.figures(None)
    arrays: dict[str, Any] = {"values": np.full(6, 0.5), "weights": np.ones(6)}
    if training:
        table = split.table()
        arrays |= {"counts": table.counts, "probabilities": table.probabilities}
    else:
        cases = np.empty(6, dtype=object)
        levels = level_of(outputs)
        cases[:] = [measure_case(levels[i], masks[i], [HALF], lesions=False, surfaces=False) for i in range(6)]
        arrays["cases"] = cases
    expected = own.figures(arrays)
    assert expected.pop("loss_parts") == {}
    same(found, expected)


def test_the_mean_loss_is_that_of_the_own_loop() -> None:
    values, weights = RANDOM.random(20), RANDOM.integers(0, 3, 20).astype(float)
    values[weights == 0] = 0
    mean, error = mean_and_error(values, weights)
    found = mean_loss(values, weights, 20)
    assert found.value == pytest.approx(mean)
    assert found.error == pytest.approx(error)


def test_an_unknown_floor_says_why_and_so_does_a_loss_that_was_not_given() -> None:
    found = loss_figures(Loss(0.5, 0.1, 10), None, "the loss is not stated")
    assert np.isnan(found["skill"])
    assert found["skill_reason"] == "there is no floor: the loss is not stated"
    missing = loss_figures(Loss(float("nan"), float("nan"), 0, given=False), None, "whatever")
    assert missing["loss"]["value_reason"] == missing["skill_reason"] == "no loss was given"


def test_the_error_of_a_loss_by_batches_knows_that_a_batch_is_one_observation() -> None:
    loud = split_of("binary", ("c",), {"type": "bce"}, training=True)
    for value in (0.2, 1.0, 0.2, 1.0):
        loud.add(np.zeros(50), np.arange(50) % 2, value, None)
    figures = loud.figures(None)["loss"]
    assert figures["value"] == pytest.approx(0.6)
    assert figures["n"] == 200
    assert figures["se"] == pytest.approx(np.std([0.2, 1.0, 0.2, 1.0], ddof=1) / 2)
