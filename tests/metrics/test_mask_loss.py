from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from osler.config import LossConfig
from osler.errors import ConfigError
from osler.metrics.mask_loss import MaskCounts, MaskLossSpec, resolve_mask_loss, unused_mask_settings


def counts(classes: int = 1, exclusive: bool = True) -> MaskCounts:
    shares = np.array([[0.10, 0.02, 0.0], [0.0, 0.01, 0.0], [np.nan] * 3])[:, :classes]
    return MaskCounts(exclusive, shares, np.array([100.0, 300.0, 0.0]))


def resolved(classes: int = 1, exclusive: bool = True, stage: str | None = None, **options: Any) -> MaskLossSpec:
    return resolve_mask_loss(LossConfig(**options), counts(classes, exclusive), stage)


def test_pixels_are_counted_over_images_of_unequal_size_and_unknown_ones_are_not() -> None:
    found = counts(3).labels
    assert found.positives.tolist() == pytest.approx([10, 5, 0])
    assert found.known.tolist() == [400, 400, 400]


def test_the_defaults_are_those_of_the_issue() -> None:
    assert dict(resolved().parts) == {"bce": 0.4, "dice": 0.4, "focal": 0.2}
    assert resolved().type == "combined"
    assert dict(resolved(type="enhanced").parts) == dict.fromkeys(("bce", "focal", "dice", "tversky"), 0.25)
    assert dict(resolved(type="enhanced", weights={"dice": 2.0, "bce": 1.0}).parts) == {"dice": 2.0, "bce": 1.0}
    assert dict(resolved(type="iou").parts) == {"iou": 1.0}


def test_a_snippet_works_as_it_stands() -> None:
    spec = resolved(type="enhanced", tversky_beta=0.6)
    assert (spec.tversky_beta, spec.tversky_alpha) == (0.6, 0.4)
    assert (resolved(type="tversky", tversky_beta=0.6, tversky_alpha=0.6)).tversky_alpha == 0.6


def test_auto_follows_the_pixels() -> None:
    spec = resolved(3, type="enhanced", pos_weight="auto", alpha="auto", pos_weight_cap=50)
    assert spec.pos_weight is not None
    assert spec.alpha is not None
    assert spec.pos_weight.tolist() == pytest.approx([39, 50, 1]), "390 / 10; capped; a class that never occurs"
    assert spec.alpha.tolist() == pytest.approx([0.95, 0.95, 0.5])


def test_a_stage_of_the_schedule_shares_the_parameters() -> None:
    config: dict[str, Any] = {"schedule": [{"type": "combined", "epochs": 3}, {"type": "enhanced"}], "tversky_beta": 0.6}
    first, last = (resolved(stage=stage, **config) for stage in ("combined", "enhanced"))
    assert (first.type, last.type) == ("combined", "enhanced")
    assert last.tversky_beta == 0.6


@pytest.mark.parametrize(
    ("classes", "exclusive", "options", "told"),
    [
        (3, True, {"type": "bce"}, "cross_entropy"),
        (3, False, {"type": "cross_entropy"}, "several"),
        (3, True, {"pos_weight": (1.0, 2.0)}, "loss.pos_weight: 2 values for 3 classes"),
        (3, False, {"type": "focal", "alpha": (0.1,)}, "loss.alpha: 1 values for 3 classes"),
        (1, True, {"type": "tversky", "tversky_alpha": 0, "tversky_beta": 0}, "no mistake would cost"),
        (1, True, {"type": "combined", "weights": {}}, "loss.weights"),
    ],
)
def test_what_does_not_fit_is_refused(classes: int, exclusive: bool, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        resolved(classes, exclusive, **options)


def test_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as told:
        resolved(3, type="bce", pos_weight=(1.0, 2.0))
    assert str(told.value).count("\n") == 1


def test_cross_entropy_of_one_class_is_its_bce() -> None:
    assert dict(resolved(type="cross_entropy").parts) == {"bce": 1.0}
    assert dict(resolved(type="bce").parts) == {"bce": 1.0}


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({}, ()),
        ({"type": "bce", "pos_weight": 4.4}, ()),
        ({"type": "dice", "pos_weight": 4.4, "gamma": 1.0}, ("loss.pos_weight", "loss.gamma")),
        ({"type": "combined", "tversky_beta": 0.6}, ("loss.tversky_beta",)),
        ({"type": "enhanced", "tversky_beta": 0.6, "tversky_gamma": 2.0}, ("loss.tversky_gamma",)),
        ({"type": "dice", "weights": {"dice": 1.0}}, ("loss.weights",)),
        ({"type": "combined", "label_smoothing": 0.1, "class_weights": "auto"}, ("loss.class_weights", "loss.label_smoothing")),
    ],
)
def test_settings_that_nothing_reads_are_named(options: dict[str, Any], idle: tuple[str, ...]) -> None:
    config = LossConfig(**options)
    assert unused_mask_settings(config, [resolve_mask_loss(config, counts())]) == idle


def test_a_setting_that_a_later_stage_reads_is_not_idle() -> None:
    config = LossConfig.model_validate(
        {"schedule": [{"type": "combined", "epochs": 3}, {"type": "enhanced"}], "tversky_beta": 0.6}
    )
    stages = [resolve_mask_loss(config, counts(), stage.type) for stage in config.schedule]
    assert unused_mask_settings(config, stages) == ()
    assert unused_mask_settings(config, stages[:1]) == ("loss.tversky_beta",)
