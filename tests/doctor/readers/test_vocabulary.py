"""The words of logs: every label in the table below means what a person who reads the log takes it for."""

from __future__ import annotations

import pytest

from osler.doctor.readers.vocabulary import SHARES, SIGNED_SHARES, VOCABULARY, find_meaning, split_of

# label → split, figure, part
FIGURES: dict[str, tuple[str | None, str, str | None]] = {
    "loss": ("", "loss", None),
    "val_loss": ("val", "loss", None),
    "Validation Loss": ("val", "loss", None),
    "trainLoss": ("train", "loss", None),
    "valloss": ("val", "loss", None),
    "vacc": ("val", "accuracy", None),
    "epoch_loss": ("", "loss", None),
    "Loss/Val/Epoch": ("val", "loss", None),
    "train/box_loss": ("train", "loss", "box"),
    "val_dice_loss": ("val", "loss", "dice"),
    "val_bce": ("val", "loss", "bce"),
    "avg_val_loss": ("val", "loss", None),
    "val_binary_accuracy": ("val", "accuracy", None),
    "sparse_categorical_accuracy": ("", "accuracy", None),
    "Acc@1": ("", "accuracy", None),
    "top-1 acc": ("", "accuracy", None),
    "Acc@5": ("", "top5_accuracy", None),
    "val_balanced_accuracy": ("val", "balanced_accuracy", None),
    "AUC-ROC": ("", "auc", None),
    "val_rocAUC": ("val", "auc", None),
    "val_pr_auc": ("val", "ap", None),
    "average_precision": ("", "ap", None),
    "metrics/mAP50(B)": ("", "map50", None),
    "metrics/mAP50-95(B)": ("", "map50_95", None),
    "metrics/precision(B)": ("", "precision", None),
    "Sensitivity": ("", "recall", None),
    "test_specificity": ("test", "specificity", None),
    "F1-Score": ("", "f1", None),
    "val_qwk": ("val", "kappa", None),
    "val_dice_coef_multiclass": ("val", "dice", None),
    "mIoU": ("", "iou", None),
    "mean_io_u": ("", "iou", None),
    "hausdorff95": ("", "hd95", None),
    "val_auc_Hernia": ("val", "auc", "Hernia"),
    "AUC/Pleural_Thickening": ("", "auc", "Pleural_Thickening"),
    "val_dice_class_2": ("val", "dice", "2"),
    "pred positive rate": ("", "positive_rate", None),
    "val_pred_mean": ("val", "probability.mean", None),
    "lr": (None, "learning_rate", None),
    "Current Learning Rate": (None, "learning_rate", None),
    "grad_norm": (None, "gradient_norm.mean", None),
    "epoch_time_sec": (None, "seconds.epoch", None),
    "Verlust": ("", "loss", None),
    "Val Genauigkeit": ("val", "accuracy", None),
    "损失": ("", "loss", None),
}


@pytest.mark.parametrize("label", FIGURES)
def test_figures(label: str) -> None:
    meaning = find_meaning(label)
    assert meaning.kind == "figure"
    assert (meaning.split, meaning.name, meaning.part) == FIGURES[label]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("epoch", "epoch"), ("Epoche", "epoch"), ("global_step", "step"), ("iter", "step"), ("mode", "split"), ("fold", "group"),
        ("phase", "phase"), ("GPU_mem", "known"), ("Instances", "known"), ("name of patient", "unknown"), ("", "unknown"),
        ("..", "unknown"),
    ],
)  # fmt: skip
def test_other_columns(label: str, kind: str) -> None:
    assert find_meaning(label).kind == kind


@pytest.mark.parametrize(
    ("label", "variant"),
    [
        ("val_f1_macro", "macro"), ("auc_weighted", "weighted"), ("micro F1", "micro"), ("train_loss_step", "step"),
        ("train_loss_epoch", "plain"), ("Best val AUC", "record"), ("val_acc_std", "spread"), ("loss_ema", "smoothed"),
    ],
)  # fmt: skip
def test_variants(label: str, variant: str) -> None:
    assert find_meaning(label).variant == variant


def test_labels_that_say_per_cent() -> None:
    assert find_meaning("Val Acc (%)").percent
    assert find_meaning("acc_pct").percent
    assert not find_meaning("acc").percent


def test_splits() -> None:
    assert [split_of(word) for word in ("train", "VALID", "eval", "testing", "Hernia", "a long sentence about training")] == [
        "train", "val", "val", "test", None, None,
    ]  # fmt: skip


def test_every_share_is_a_figure_of_the_vocabulary() -> None:
    assert set(VOCABULARY["figure"]) >= SHARES | SIGNED_SHARES


def test_every_phrase_means_what_it_is_listed_under() -> None:
    """A phrase that also stands under another figure would silently lose."""
    for figure, phrases in VOCABULARY["figure"].items():
        for phrase in phrases:
            assert find_meaning(phrase).name == figure, phrase
