"""Console logs: what training scripts print."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from osler.doctor.chart import Chart
from osler.errors import DataError

Read = Callable[..., list[Chart]]

KERAS = (
    "Epoch 1/10\n"
    "  1/100 [....] - ETA: 3s - loss: 0.9 - accuracy: 0.5" + "\b" * 50 + " 50/100 [==>...] - ETA: 1s - loss: 0.8 - accuracy: 0.55"
    "\r100/100 [======] - 12s 120ms/step - loss: 0.7 - accuracy: 0.6 - val_loss: 0.65 - val_accuracy: 0.62\n"
    "\nEpoch 00001: val_loss improved from inf to 0.65000, saving model to best.h5\n"
    "Epoch 2/10\n100/100 [======] - 12s 120ms/step - loss: 0.6 - accuracy: 0.7 - val_loss: nan - val_accuracy: 0.72\r\n"
    "\nEpoch 2: val_loss did not improve from 0.65000\n"
)
KERAS_3 = "".join(
    f"Epoch {epoch}/3\n\x1b[1m13/13\x1b[0m \x1b[32m━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m12s\x1b[0m 700ms/step - "
    f"loss: {0.8 - epoch / 10:.1f} - val_loss: {0.9 - epoch / 10:.1f} - learning_rate: 0.0010\n"
    for epoch in (1, 2)
)
TUTORIAL = (
    "Epoch 0/24\n----------\ntrain Loss: 0.7 Acc: 0.6\nval Loss: 0.8 Acc: 0.5\n\n"
    "Epoch 1/24\n----------\ntrain Loss: 0.6 Acc: 0.7\nval Loss: 0.7 Acc: 0.6\n\nBest val Acc: 0.99\n"
)
HEADINGS = "".join(
    f"=== Epoch {epoch} ===\nTraining:\n  Loss: {0.8 - epoch / 10:.1f}\n"
    f"Validation:\n  Loss: {0.9 - epoch / 10:.1f}\n  Accuracy: 60.0%\n"
    for epoch in (1, 2)
)
LOGGING = "".join(
    f"2026-05-01 12:0{epoch}:11,123 - INFO - train.py:88 - [Epoch {epoch:03d}/100] train_loss={0.8 - epoch / 10:.1f} "
    f"val_loss={0.9 - epoch / 10:.1f} lr=1.00e-04 time=12.3s\n"
    for epoch in (1, 2)
)
PIPES = "".join(
    f"epoch   {epoch} | train: loss {0.8 - epoch / 10:.1f}, acc 60.1% | val: loss {0.9 - epoch / 10:.1f}, acc 59.1%\n"
    for epoch in (1, 2)
)
COMMAS = "".join(
    f"Epoche {epoch}/3: Verlust {0.8 - epoch / 10:.1f}; Val Verlust {0.9 - epoch / 10:.1f}\n".replace(".", ",")
    for epoch in (1, 2)
)
TQDM = "".join(
    f"Epoch {epoch}: 100%|██████████| 50/50 [00:05<00:00, 9.1it/s, v_num=3, "
    f"train_loss={0.8 - epoch / 10:.1f}, val_loss={0.9 - epoch / 10:.1f}]\n"
    for epoch in (1, 2)
)


@pytest.mark.parametrize("text", [KERAS_3, TUTORIAL, HEADINGS, LOGGING, PIPES, COMMAS, TQDM])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_losses_of_two_epochs(read: Read, text: str, encoding: str) -> None:
    (chart,) = read(text.encode(encoding))
    assert len(chart) == 2
    assert chart.values("train.loss").tolist() == pytest.approx([0.7, 0.6])
    assert chart.values("val.loss").tolist() == pytest.approx([0.8, 0.7])


def test_a_redrawn_bar_counts_with_its_last_state(read: Read) -> None:
    (chart,) = read(KERAS)
    assert chart.values("train.loss").tolist() == [0.7, 0.6]
    assert chart.values("val.accuracy").tolist() == [0.62, 0.72]
    assert chart.values("val.loss")[0] == 0.65
    assert chart.nonfinite_epochs("val.loss").tolist() == [2.0]
    assert chart.facts["training.epochs"] == 10


def test_a_bar_on_lines_of_its_own_counts_with_its_last_line(read: Read) -> None:
    lines = [f" {step}/3 [====>....] - ETA: 3s - loss: {1.0 - step / 10:.1f}" for step in (1, 2, 3)]
    (chart,) = read("\n".join(["Epoch 1/2", *lines, "Epoch 2/2", *lines]))
    assert chart.values("train.loss").tolist() == [0.7, 0.7]


def test_the_line_of_the_readme(read: Read) -> None:
    (chart,) = read("Epoch 5/50 ... loss=0.32 val_auc: 0.81\nEpoch 6/50 ... loss=0.31 val_auc: 0.82\n")
    assert chart.epochs.tolist() == [5.0, 6.0]
    assert chart.values("train.loss").tolist() == [0.32, 0.31]
    assert chart.values("val.auc").tolist() == [0.81, 0.82]
    assert chart.facts["training.epochs"] == 50


def test_running_means_in_brackets_stand_for_the_epoch(read: Read) -> None:
    text = "".join(
        f"Epoch: [{epoch}][{batch}/100]\tTime 0.1 (0.2)\tLoss {6 - epoch:.4f} ({6.5 - epoch - batch / 1000:.4f})\t"
        f"Acc@1 12.0 ({epoch + 20:.2f})\n"
        for epoch in range(3)
        for batch in (0, 50, 100)
    )
    (chart,) = read(text)
    assert chart.values("train.loss").tolist() == pytest.approx([6.4, 5.4, 4.4])
    assert chart.values("train.accuracy").tolist() == pytest.approx([0.20, 0.21, 0.22])
    assert "seconds.epoch" not in chart.series


def test_batches_are_averaged_and_fractions_divided(read: Read) -> None:
    text = "".join(
        "".join(
            f"Train Epoch: {epoch} [{batch}/60000 ({batch / 600:.0f}%)]\tLoss: {epoch + batch / 1e5:.6f}\n"
            for batch in (0, 20000, 40000)
        )
        + f"\nTest set: Average loss: 0.{epoch}, Accuracy: {9000 + epoch}/10000 (90%)\nHits: recall {epoch}/4\n"
        for epoch in (1, 2)
    )
    (chart,) = read(text)
    assert chart.values("train.loss").tolist() == pytest.approx([1.2, 2.2])
    assert chart.values("val.loss").tolist() == [0.1, 0.2]
    assert chart.values("val.accuracy").tolist() == [0.9, 0.9]
    assert len(chart.traces["train.loss"].values) == 6


def test_numbers_in_names_are_names(read: Read) -> None:
    text = "".join(
        f"Epoch {epoch}\nval loss: 0.5\nDice class 1: 0.{epoch}\nDice class 2: 0.{epoch + 2}\nf1: 0.3 top-5 acc: 0.9\n"
        for epoch in (1, 2)
    )
    (chart,) = read(text)
    assert chart.parts("train.dice") == ("1", "2")
    assert chart.by_class("train.dice").tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert chart.values("train.f1").tolist() == [0.3, 0.3]


def test_means_within_batches(read: Read) -> None:
    text = "".join(
        f"Epoch {epoch}\nbatch 50: predicted mean 0.00001{epoch}, target mean 0.1234\n"
        f"Epoch {epoch} loss {0.42 * (2 - epoch):.2f}\n"
        for epoch in (1, 2)
    )
    (chart,) = read(text)
    assert chart.values("train.loss").tolist() == [0.42, 0.0]
    assert chart.values("train.probability.mean").tolist() == pytest.approx([1.1e-5, 1.2e-5])
    assert chart.values("train.prevalence").tolist() == [0.1234, 0.1234]


def test_settings_in_the_log_are_facts_and_figures_are_not(read: Read) -> None:
    text = "Learning rate: 0.001\nBatch size: 32\nOptimizer: Adam\nLoss: 0.9\nEpoch 1 loss 0.9\nEpoch 2 loss 0.8\n"
    (chart,) = read(text)
    assert dict(chart.facts) == {"training.learning_rate": 0.001, "training.batch_size": 32, "training.optimizer": "Adam"}


def test_what_is_only_spoken_of_is_not_read(read: Read) -> None:
    text = (
        "Epoch 1 val_auc 0.6\nBest val_auc 0.99 at best epoch 7\n"
        "Epoch 2 val_auc 0.7\nEarly stopping at epoch 2, best val_auc: 0.98\n"
    )
    (chart,) = read(text)
    assert chart.values("val.auc").tolist() == [0.6, 0.7]


def test_prose_is_refused(read: Read) -> None:
    text = (
        "The loss fell to 0.3 by epoch 7, and the accuracy was 0.9 at epoch 12.\n"
        "In epoch 30 the Dice was 0.5; later, recall 0.4 at epoch 31."
    )
    with pytest.raises(DataError, match="no figure is given for most of them"):
        read(text)


def test_very_long_lines_are_read_at_their_end(read: Read) -> None:
    (chart,) = read("".join(f"Epoch {epoch}: {'x' * 10_000} val_loss: 0.{epoch}\nEpoch {epoch} loss: 0.5\n" for epoch in (1, 2)))
    assert chart.values("train.loss").tolist() == [0.5, 0.5]
    assert "longer than" in chart.notes[0]
