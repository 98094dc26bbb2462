"""Logs of few figures and few epochs, as people keep them: what still shows in them, and what must not be read into them."""

from __future__ import annotations

import numpy as np
import pytest

from osler.doctor.chart import Chart
from osler.doctor.diagnose import diagnose
from osler.doctor.findings import Finding

Columns = dict[str, list[float]]

# A network fine-tuned for five epochs on a small set of films.
ONLY_WORSE: Columns = {
    "train.loss": [0.6785, 0.2597, 0.2053, 0.1586, 0.1549],
    "val.loss": [0.5736, 0.7671, 0.8772, 1.2561, 1.3425],
    "val.accuracy": [0.8, 0.7667, 0.6833, 0.7167, 0.6333],
}
# The same from weights of another pretraining, on two classes.
A_COIN: Columns = {
    "train.loss": [0.8738, 0.7048, 0.7, 0.7002, 0.6878],
    "train.accuracy": [0.5067, 0.5285, 0.523, 0.5253, 0.5544],
    "val.loss": [0.6872, 0.6883, 0.6835, 0.6845, 0.6863],
    "val.accuracy": [0.5475, 0.5566, 0.5738, 0.5493, 0.5538],
}
# A linear classifier on frozen features.
MIRRORED = [0.1777, 0.1777, 0.8223, 0.2884, 0.8223, 0.8223, 0.8006, 0.7554, 0.8223, 0.8223]
# Brain tumours: the Dice of another averaging than the IoU.
DICE_AND_IOU: Columns = {
    "val.loss": [0.192, 0.19, 0.189, 0.188, 0.187, 0.186],
    "val.dice": [0.8842, 0.8495, 0.7797, 0.8369, 0.871, 0.911],
    "val.iou": [0.201, 0.22, 0.25, 0.29, 0.32, 0.355],
}
FLAWLESS: Columns = {
    "train.loss": [0.1659, 0.0574, 0.0466, 0.0024, 0.0347, 0.0574],
    "val.loss": [0.0079, 0.0014, 0.0023, 0.0005, 0.0007, 0.0014],
    "val.auc": [1.0, 1.0, 0.9999, 1.0, 1.0, 1.0],
}


def found(columns: Columns, **facts: object) -> dict[str, Finding]:
    """Every finding of a log, those under a cause too."""
    run = diagnose(Chart.of({name: np.array(values) for name, values in columns.items()}, facts))
    return {each.id: each for finding in run.findings for each in (finding, *finding.symptoms)}


def test_a_short_run_that_only_gets_worse_overfits() -> None:
    finding = found(ONLY_WORSE)["overfitting"]
    assert finding.severity == "warning"
    assert [each.value for each in finding.signs.evidence] == [1.3425, 0.6333]


@pytest.mark.parametrize(
    "change",
    [
        {"val.loss": [0.5736, 0.7671, 0.7572, 1.2561, 1.3425]},  # falls once in between
        {"val.loss": [0.5736, 0.6071, 0.6572, 0.7561, 0.8425]},  # not by half
        {"val.accuracy": [0.8, 0.7667, 0.7833, 0.7167, 0.75]},  # the score holds
        {"train.loss": [0.2785, 0.2597, 0.2653, 0.2586, 0.2549]},  # training does not learn what validation loses
    ],
)
def test_a_short_run_with_less_to_it_does_not(change: Columns) -> None:
    assert "overfitting" not in found({**ONLY_WORSE, **change})


def test_a_short_run_that_goes_on_is_not_judged_by_its_first_epochs() -> None:
    assert "overfitting" not in found(ONLY_WORSE, **{"training.epochs": 30})
    assert "overfitting" in found(ONLY_WORSE, **{"training.epochs": 4})  # counted from 0


def test_no_falling_training_loss_is_spoken_of_where_none_is_logged() -> None:
    bowl = [0.6, 0.52, 0.46, 0.44, 0.46, 0.5, 0.55, 0.6, 0.66, 0.72, 0.78, 0.84]
    sinks = [0.7, 0.78, 0.81, 0.82, 0.81, 0.8, 0.78, 0.76, 0.74, 0.72, 0.7, 0.68]
    summary = found({"val.loss": bowl, "val.auc": sinks})["overfitting"].signs.summary
    assert "training loss" not in summary
    summary = found({"val.loss": bowl, "val.auc": sinks, "train.loss": [0.6 * 0.8**k for k in range(12)]})[
        "overfitting"
    ].signs.summary
    assert "while the training loss goes on falling" in summary


def test_losses_at_ln_2_with_small_accuracies_are_a_coins() -> None:
    finding = found(A_COIN)["not_learning"]
    assert finding.severity == "warning"
    assert finding.signs.evidence[0].expected == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    "change",
    [
        {"val.accuracy": [0.5475, 0.5566, 0.6738, 0.6893, 0.7138]},  # the calls are right more often than a coin's
        {"val.loss": [0.6872, 0.6783, 0.6735, 0.6645, 0.6563]},  # the loss leaves ln 2
        {"train.loss": [0.8738, 0.7048, 0.67, 0.6302, 0.5878]},  # training learns
    ],
)
def test_what_is_more_than_a_coin_is_none(change: Columns) -> None:
    assert "not_learning" not in found({**A_COIN, **change})


def test_a_floor_that_is_known_says_more_than_ln_2() -> None:
    """With one positive in fifty, a loss of ln 2 is not a coin's: the constant prediction has 0.098."""
    facts = {"task": "binary", "loss.type": "bce", "prevalence.val": 0.02, "prevalence.train": 0.02}
    finding = found(A_COIN, **facts)["not_learning"]
    assert finding.signs.evidence[0].quantity == "val.skill"
    assert finding.severity == "critical"


def test_an_accuracy_and_one_minus_it_are_two_constants() -> None:
    finding = found({"train.loss": [7.6, 8.5, 6.1, 10.2, 13.8, 5.8, 8.5, 9.9, 6.6, 6.2], "val.accuracy": MIRRORED})[
        "alternating_prediction"
    ]
    assert finding.severity == "warning"
    assert "0.8223 in 5 epochs" in finding.signs.summary


@pytest.mark.parametrize(
    "accuracy",
    [
        [0.8223] * 10,  # one constant: another fault
        [0.81, 0.83, 0.8223, 0.84, 0.85, 0.86, 0.1777, 0.86, 0.1777, 0.8223],  # not in half of the epochs
        [0.75, 0.25, 0.75, 0.25, 0.75, 0.7, 0.75, 0.25, 0.75, 0.25],  # shares of a small set
        [0.51, 0.49, 0.51, 0.49, 0.51, 0.49, 0.5, 0.49, 0.51, 0.5],  # by chance
    ],
)
def test_accuracies_that_mirror_by_chance_or_not_at_all(accuracy: list[float]) -> None:
    assert "alternating_prediction" not in found({"val.accuracy": accuracy})


def test_a_dice_that_its_iou_does_not_allow() -> None:
    finding = found(DICE_AND_IOU, task="segmentation")["flattering_overlap"]
    assert finding.severity == "warning"
    assert finding.signs.evidence[0].expected == pytest.approx(2 * 0.355 / 1.355)
    allowed = {**DICE_AND_IOU, "val.dice": [2 * iou / (1 + iou) - 0.02 for iou in DICE_AND_IOU["val.iou"]]}
    assert "flattering_overlap" not in found(allowed, task="segmentation")


def test_an_auc_without_a_flaw_is_too_good_to_be_true() -> None:
    assert found(FLAWLESS)["leakage_suspected"].severity == "warning"
    assert found({**FLAWLESS, "train.auc": [0.99, 1.0, 1.0, 1.0, 1.0, 1.0]})["leakage_suspected"].severity == "warning"
    late = {**FLAWLESS, "val.auc": [0.93, 0.99, 0.999, 1.0, 1.0, 1.0]}
    assert "leakage_suspected" not in found(late)


def test_a_validation_loss_that_steps_up_overfits_and_does_not_stand_still() -> None:
    """Evaluations alone, of a run that was fine-tuned in stages."""
    loss = [0.6622, 0.6498, 0.6004, 0.6004, 0.6865, 0.677, 0.6542, 0.649, 1.1912, 1.1731, 1.1002, 1.1044, 1.1666, 1.1697]
    accuracy = [0.758, 0.761, 0.7955, 0.7953, 0.7812, 0.783, 0.7792, 0.781, 0.6739, 0.6759, 0.7002, 0.6999, 0.6919, 0.6915]
    shown = found({"val.loss": loss, "val.accuracy": accuracy})
    assert shown["overfitting"].severity == "warning"
    assert "stuck_loss" not in shown
    swings = [*loss[:8], 1.1912, 0.66, 1.1002, 0.65, 1.1666, 0.67]
    assert "overfitting" not in found({"val.loss": swings, "val.accuracy": accuracy})


@pytest.mark.parametrize(
    ("facts", "severity"),
    [
        ({"split.duplicates_shared": 1, "samples.val": 200}, "note"),
        ({"split.duplicates_shared": 3, "samples.val": 60, "samples.test": 60}, "warning"),
        ({"split.duplicates_shared": 3, "samples.val": 30, "samples.test": 30}, "critical"),
        ({"split.duplicates_shared": 3}, "critical"),  # of nobody knows how many
        ({"split.patients_shared": 1, "patients.val": 300, "split.duplicates_shared": 30, "samples.val": 300}, "critical"),
        ({"audit.copies_across_splits": 1, "samples.val": 300}, "critical"),
    ],
)
def test_leakage_is_as_grave_as_what_is_shared(facts: dict[str, float], severity: str) -> None:
    assert found({"val.auc": [0.6, 0.7, 0.8]}, **facts)["leakage"].severity == severity


def test_splits_that_share_nothing_are_no_leak() -> None:
    assert "leakage" not in found({"val.auc": [0.6, 0.7, 0.8]}, **{"split.duplicates_shared": 0, "split.patients_shared": 0})


# Six epochs and a patience of five: a classifier of films that only grew surer.
STOPPED: Columns = {
    "train.loss": [0.61, 0.52, 0.46, 0.41, 0.36, 0.32],
    "val.loss": [0.678, 0.727, 0.741, 0.874, 0.933, 1.002],
    "val.auc": [0.881, 0.879, 0.875, 0.871, 0.868, 0.865],
}


def test_a_run_that_was_stopped_early_shows_its_rise() -> None:
    finding = found(STOPPED)["overconfidence"]
    assert "the ranking is as good" in finding.signs.summary
    assert "mean of the end" in finding.signs.evidence[0].basis
    assert finding.signs.evidence[0].epoch is None  # it is no figure of one epoch
    assert found({**STOPPED, "val.auc": [0.881, 0.86, 0.84, 0.82, 0.80, 0.78]})["overfitting"].severity == "warning"
    assert not {"overfitting", "overconfidence"} & set(found({**STOPPED, "val.loss": [0.678, 0.727, 0.701, 0.690, 0.684, 0.681]}))
    assert not {"overfitting", "overconfidence"} & set(found(STOPPED, **{"training.epochs": 40}))  # it goes on


def test_a_score_that_dips_once_after_the_best_epoch_falls_all_the_same() -> None:
    val = [0.02, 0.016, 0.013, 0.011, 0.0098, 0.0094, 0.0091, 0.0089, 0.0484, *np.linspace(0.015, 0.04, 20).tolist()]
    dice = [0.3, 0.38, 0.44, 0.49, 0.53, 0.56, 0.59, 0.603, 0.045, *np.linspace(0.36, 0.42, 20).tolist()]
    train = [0.02 * 0.9**k for k in range(29)]
    shown = found({"val.loss": val, "val.dice": dice, "train.loss": train}, task="segmentation")
    assert shown["overfitting"].severity == "warning"


def test_overconfidence_names_the_score_that_was_judged() -> None:
    val = [0.6, 0.52, 0.46, 0.44, 0.46, 0.5, 0.55, 0.6, 0.66, 0.72, 0.78, 0.84]
    columns = {"val.loss": val, "val.accuracy": [0.7 + 0.01 * k for k in range(12)], "val.f1": [0.5, *[np.nan] * 11]}
    summary = found({**columns, "train.loss": [0.6 * 0.8**k for k in range(12)]})["overconfidence"].signs.summary
    assert "val.accuracy does not fall" in summary
    assert "calls are as good" in summary


def test_more_epochs_are_not_advised_where_the_validation_loss_has_risen() -> None:
    auc = [0.6 + 0.01 * k for k in range(16)]
    low, risen = [0.6 - 0.01 * k for k in range(16)], [0.6, 0.5, 0.45, *[0.45 + 0.02 * k for k in range(13)]]
    assert "still_improving" in found({"val.auc": auc, "val.loss": low})
    assert "still_improving" not in found({"val.auc": auc, "val.loss": risen})


def test_a_score_near_its_end_is_not_drawn_on_to_one() -> None:
    summary = found({"val.auc": [0.5 + 0.03 * k for k in range(16)]})["still_improving"].signs.summary
    assert "straight line" not in summary


def test_a_loss_that_was_thrown_up_and_a_score_that_fell_with_it() -> None:
    train = [4.6, 3.2, 2.7, 2.2, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.45, 1.4, 1.35, 1.32, 1.31, 2.4, 2.6, 2.2, 2.1, 2.0, 1.9, 1.9]
    iou = [
        0.06,
        0.1,
        0.15,
        0.2,
        0.22,
        0.25,
        0.28,
        0.3,
        0.32,
        0.34,
        0.36,
        0.38,
        0.4,
        0.42,
        0.42,
        0.24,
        0.23,
        0.2,
        0.22,
        0.22,
        0.23,
        0.23,
    ]
    finding = found({"train.loss": train, "val.iou": iou}, task="segmentation")["late_collapse"]
    assert finding.severity == "warning"
    comes_back = [*train[:17], 1.6, 1.45, 1.38, 1.33, 1.3]
    assert "late_collapse" not in found({"train.loss": comes_back, "val.iou": iou}, task="segmentation")


def test_a_fine_tuning_whose_first_row_has_no_training_loss_is_not_stuck() -> None:
    columns = {"train.loss": [np.nan, 0.1806, 0.1375, 0.1153], "val.loss": [0.1502, 0.165, 0.189, 0.174]}
    assert "stuck_loss" not in found(columns)


def test_labels_follow_from_counts_of_right_and_wrong_calls() -> None:
    counts = {"val.tp": [40.0, 45, 50], "val.fn": [20.0, 15, 10], "val.tn": [100.0, 120, 130], "val.fp": [40.0, 20, 10]}
    run = diagnose(Chart.of({name: np.array(values) for name, values in {**counts, "val.auc": [0.51, 0.49, 0.5]}.items()}, {}))
    assert "chance_auc" in {each.id for finding in run.findings for each in (finding, *finding.symptoms)}
    moving = {**counts, "val.fp": [40.0, 25, 10]}  # not of one set
    run = diagnose(Chart.of({name: np.array(values) for name, values in {**moving, "val.auc": [0.51, 0.49, 0.5]}.items()}, {}))
    assert "inverted_scores" in {each.id for each in run.not_assessed}


def test_the_smallest_set_that_makes_the_steps_is_told() -> None:
    accuracy = [13 / 16, 12 / 16, 11 / 16, 8 / 16, 10 / 16, 12 / 16]
    finding = found({"val.accuracy": accuracy, "train.loss": [0.7, 0.6, 0.5, 0.45, 0.4, 0.38]})["small_validation"]
    assert "16 samples" in finding.signs.summary
    assert finding.signs.evidence[0].value == 16.0


def test_losses_that_part_are_no_less_grave_where_the_validation_loss_rises_too() -> None:
    train = [0.944 * 0.985**k for k in range(120)]
    val = [max(0.731, 0.935 - 0.01 * k) if k < 40 else 0.731 + 0.001 * (k - 40) for k in range(120)]
    assert found({"train.loss": train, "val.loss": val})["overfitting"].severity == "warning"


KNOWN: Columns = {
    "train.loss": [0.69, 0.5, 0.35, 0.25, 0.16, 0.1, 0.07, 0.05, 0.035, 0.025, 0.021, 0.02],
    "val.loss": [0.69, 0.58, 0.48, 0.42, 0.38, 0.36, 0.35, 0.35, 0.35, 0.35, 0.35, 0.35],
    "train.auc": [0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    "val.auc": [0.6, 0.75, 0.82, 0.86, 0.89, 0.91, 0.92, 0.92, 0.92, 0.92, 0.92, 0.92],
}


def test_training_samples_known_by_heart_overfit_though_nothing_falls() -> None:
    finding = found(KNOWN)["overfitting"]
    assert finding.severity == "warning"
    assert "17.0" in finding.signs.summary or "17.07" in finding.signs.summary
    assert "overfitting" not in found({**KNOWN, "val.auc": [*KNOWN["val.auc"][:6], 0.95, 0.97, 0.985, 0.99, 0.99, 0.99]})
    assert "overfitting" not in found({**KNOWN, "val.loss": [*KNOWN["val.loss"][:6], 0.3, 0.25, 0.2, 0.15, 0.11, 0.1]})
    assert "overfitting" not in found(KNOWN, **{"training.epochs": 100})


def test_a_wide_gap_between_dice_needs_no_other_sign() -> None:
    train = [0.05, 0.2, 0.4, 0.55, 0.7, 0.8, 0.86, 0.9, 0.92, 0.94, 0.95, 0.95]
    val = [0.04, 0.2, 0.35, 0.45, 0.5, 0.53, 0.55, 0.55, 0.55, 0.55, 0.55, 0.55]
    assert found({"train.dice": train, "val.dice": val}, task="segmentation")["overfitting"].severity == "warning"
    nearer = [value * 0.75 / 0.55 for value in val]
    assert "overfitting" not in found({"train.dice": train, "val.dice": nearer}, task="segmentation")
