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


def test_a_line_that_sums_up_the_epoch_wins_over_its_batches(read: Read) -> None:
    text = "".join(
        f"epoch: {epoch}/4 batch {batch}/3 Train loss: {9 - batch}.5, Acc: 0.1\n" for epoch in (1, 2) for batch in (1, 2, 3)
    )
    summed = "".join(
        line + ("Train loss: 0.6, Acc: 0.7\nEval Acc: 0.8\n" if "3/3" in line else "") for line in text.splitlines(True)
    )
    (chart,) = read(summed)
    assert chart.values("train.loss").tolist() == [0.6, 0.6]
    assert chart.values("train.accuracy").tolist() == [0.7, 0.7]
    assert chart.values("val.accuracy").tolist() == [0.8, 0.8]
    (batches,) = read(text)
    assert batches.values("train.loss").tolist() == [7.5, 7.5]


def test_a_line_without_split_that_gives_more_is_not_taken_for_the_epochs_training(read: Read) -> None:
    """What is evaluated after the epoch, and does not say so, is no training loss."""
    text = "".join(
        f"Epoch: [{epoch}/9] Iter: [{step}/40] Loss: 1.{step}\n" + ("Loss: 5.0, MeanIU: 0.4\n" if step == 20 else "")
        for epoch in range(3)
        for step in (10, 20)
    )
    (chart,) = read(text)
    assert (chart.values("train.loss") < 3.0).all()
    assert chart.has("train.iou", points=3)


def test_the_mean_of_an_epoch_is_of_the_loss_of_its_batches(read: Read) -> None:
    text = "".join(
        f"epoch {epoch}/9\n1/2, train_loss: 0.8\n2/2, train_loss: 0.6\nepoch {epoch} average loss: 0.7\n"
        f"current epoch: {epoch} current mean dice: 0.{epoch}\nbest mean dice: 0.9 at epoch: 1\n"
        for epoch in (1, 2, 3)
    )
    (chart,) = read(text)
    assert not chart.has("val.loss")
    assert chart.values("train.loss").tolist() == pytest.approx([0.7] * 3)
    assert chart.values("val.dice").tolist() == [0.1, 0.2, 0.3]


def test_steps_are_counted_where_epochs_are_not(read: Read) -> None:
    text = "".join(
        f"INFO:x:Step {step}: Train accuracy = {step / 50}%\nINFO:x:Step {step}: Validation accuracy = 60.0% (N=671)\n"
        f"New best step {step}, val acc = 61%\n"
        for step in (0, 1000, 2000)
    )
    (chart,) = read(text)
    assert chart.axis == "step"
    assert chart.epochs.tolist() == [0.0, 1000.0, 2000.0]
    assert chart.values("train.accuracy").tolist() == [0.0, 0.2, 0.4]
    again = text + text
    with pytest.raises(DataError):  # batches counted anew in each epoch are no clock
        read(again)


def test_a_record_told_again_and_numbers_in_paths_are_no_figures(read: Read) -> None:
    text = "".join(
        f"Epoch {epoch}: train_acc=0.5, val_acc=0.{epoch}\nNew best model found at epoch {epoch} with val_acc=0.9\n"
        f"saved to run/FP/20251120/{epoch}\nNo improvement in val_loss for {epoch} epochs.\n"
        for epoch in (1, 2, 3)
    )
    (chart,) = read(text)
    assert sorted(chart.series) == ["train.accuracy", "val.accuracy"]
    assert chart.values("val.accuracy").tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "line",
    [
        "第 {0}/20 轮 训练损失: 0.7 训练准确率: 60% 验证损失: 0.6 验证准确率: 65%",
        "Época {0}/20 - perda treino: 0,7 - acurácia treino: 0,60 - perda validação: 0,6 - acurácia validação: 0,65",
        "Эпоха {0}/20: потери на обучении 0.7, точность 0.60; валидация: потери 0.6, точность 0.65",
        "Epoche {0}/20: Trainingsverlust 0.7, Trainingsgenauigkeit 60 %, Validierungsverlust 0.6, Validierungsgenauigkeit 65 %",
        "エポック {0}/20 訓練損失: 0.7 訓練精度: 0.60 検証損失: 0.6 検証精度: 0.65",
        "Epok {0}/20: eğitim kaybı 0.7, eğitim doğruluğu 0.60, doğrulama kaybı 0.6, doğrulama doğruluğu 0.65",
    ],
)
def test_other_languages(read: Read, line: str) -> None:
    (chart,) = read("\n".join(line.format(epoch) for epoch in (1, 2, 3)))
    assert chart.epochs.tolist() == [1.0, 2.0, 3.0]
    assert chart.facts["training.epochs"] == 20
    expected = {"train.loss": 0.7, "train.accuracy": 0.6, "val.loss": 0.6, "val.accuracy": 0.65}
    assert {name: float(series.values[0]) for name, series in chart.series.items()} == pytest.approx(expected)


def test_folds_are_no_epochs_in_chinese(read: Read) -> None:
    text = "".join(f"第 {fold} 折\nepoch {epoch} 验证准确率: 0.{epoch}\n" for fold in (1,) for epoch in (1, 2, 3))
    (chart,) = read(text)
    assert chart.epochs.tolist() == [1.0, 2.0, 3.0]


def test_a_split_named_once_does_not_make_the_rest_another(read: Read) -> None:
    """A heading holds until the next epoch; the loss of the others is the same."""
    text = "train\nloss: 9.0\n" + "".join(f"Epoch {epoch} loss 0.{9 - epoch} | Acc 5{epoch}.0%\n" for epoch in range(1, 8))
    (chart,) = read(text)
    assert not chart.has("val.loss")
    assert chart.values("train.loss")[-1] == 0.2


def test_seconds_by_epoch_are_no_epoch(read: Read) -> None:
    """Keras ends its lines with "5s/epoch - 500ms/step"."""
    (chart,) = read(
        "".join(
            f"Epoch {epoch}/50\n10/10 - 5s - loss: 0.{9 - epoch} - val_loss: 0.{8 - epoch} - 5s/epoch - 500ms/step\n"
            for epoch in (1, 2, 3)
        )
    )
    assert chart.epochs.tolist() == [1.0, 2.0, 3.0]
    assert chart.values("val.loss").tolist() == [0.7, 0.6, 0.5]


@pytest.mark.parametrize(
    "form",
    [
        "Training Results - Epoch: {0}  Avg accuracy: 0.7 Avg loss: 0.5\n"
        "Validation Results - Epoch: {0}  Avg accuracy: 0.6 Avg loss: 0.9\n",
        "Epoch {0}/9: 100%|████| 20/20 [00:05<00:00,  3.8it/s, loss=0.5, accuracy=0.7]\n"
        "Validation: 100%|████| 5/5 [00:01<00:00,  4.8it/s, loss=0.9, accuracy=0.6]\n",
        "[Train] Epoch {0} | loss 0.5 | accuracy 0.7\n[Val] Epoch {0} | loss 0.9 | accuracy 0.6\n",
    ],
)
def test_the_split_that_a_line_begins_with(read: Read, form: str) -> None:
    (chart,) = read("".join(form.format(epoch) for epoch in (1, 2, 3)))
    expected = {"train.loss": 0.5, "train.accuracy": 0.7, "val.loss": 0.9, "val.accuracy": 0.6}
    assert {name: float(series.values[-1]) for name, series in chart.series.items()} == pytest.approx(expected)


def test_classes_below_the_mean_of_validation_are_of_validation(read: Read) -> None:
    text = "".join(
        f"Epoch {epoch}/9 Train Loss: 0.5 Val Loss: 0.6 Val mAUC: 0.7\n   Edema AUC: 0.8\n   Hernia AUC: 0.6\n"
        for epoch in (1, 2)
    )
    (chart,) = read(text)
    assert chart.values("val.auc[Hernia]").tolist() == [0.6, 0.6]
    assert chart.values("val.auc").tolist() == [0.7, 0.7]
    assert not chart.has("train.auc")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("current epoch: {e} current mean dice: 0.{e}1 tc: 0.{e}2 wt: 0.{e}3 et: 0.{e}4", ["tc", "wt", "et"]),
        ("Epoch {e} | Val Dice: 0.{e}1 [TC: 0.{e}2, WT: 0.{e}3, ET: 0.{e}4]", ["TC", "WT", "ET"]),
        ("Epoch {e} val_iou=0.{e}1 liver=0.{e}2 optic disc=0.{e}3 tumor=0.{e}4", ["liver", "optic disc", "tumor"]),
    ],
)
def test_regions_bare_behind_their_mean(read: Read, line: str, names: list[str]) -> None:
    text = "".join(f"epoch {e} train loss: 0.{9 - e}\n{line.format(e=e)}\n" for e in (1, 2, 3))
    (chart,) = read(text.encode(), "log.txt")
    score = "iou" if "iou" in line else "dice"
    assert chart.values(f"val.{score}").tolist() == [0.11, 0.21, 0.31]
    for number, name in enumerate(names, 2):
        assert chart.values(f"val.{score}[{name}]") == pytest.approx([e / 10 + number / 100 for e in (1, 2, 3)])


def test_a_region_is_one_only_behind_an_overlap_score(read: Read) -> None:
    (chart,) = read(b"Epoch 1 loss: 0.9 acc: 0.3 et: 12.0\nEpoch 2 loss: 0.8 acc: 0.4 et: 11.0\n", "log.txt")
    assert not any("et" in name for name in chart.series)


@pytest.mark.parametrize("heading", ["Starting training...", "train start", "Validation", "Training:"])
def test_a_heading_says_nothing_of_a_line_that_begins_another_epoch(read: Read, heading: str) -> None:
    lines = [f"Epoch {e}/5 loss: 0.{9 - e} val_loss: 0.{8 - e} acc: 0.{e}" for e in (1, 2, 3)]
    (chart,) = read("\n".join([heading, *lines]).encode(), "log.txt")
    assert chart.values("train.loss").tolist() == [0.8, 0.7, 0.6]
    assert chart.values("val.loss").tolist() == [0.7, 0.6, 0.5]


def test_a_selection_split_is_validation(read: Read) -> None:
    text = "".join(f"epoch {e}/8  sel AUC 0.{e}  train loss 0.{9 - e}  sel loss 0.{8 - e}\n" for e in (1, 2, 3))
    (chart,) = read(text.encode(), "log.txt")
    assert chart.values("val.loss").tolist() == [0.7, 0.6, 0.5]
    assert chart.values("val.auc").tolist() == [0.1, 0.2, 0.3]


def test_settings_above_the_first_epoch_and_results_below_the_last_are_no_figures(read: Read) -> None:
    lines = [f"Epoch {e} | train loss 0.{9 - e} | val auc 0.{e}" for e in range(1, 6)]
    text = "\n".join(
        ["Namespace(train_acc_threshold=0.9, loss_weight=0.5, time_dim=64)", "SCALE_FACTOR: 16", "FOCAL_LOSS: 0.5", *lines,
         "Targets: overall AUC > 0.729", "Hit rate 0.340"]
    )  # fmt: skip
    (chart,) = read(text.encode(), "log.txt")
    assert set(chart.series) == {"train.loss", "val.auc"}
    assert chart.values("val.auc").tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_epochs_that_are_said_to_be_complete(read: Read) -> None:
    text = "".join(
        f"Epoch complete {e}, Avg. Running Loss: {6.4 - e / 10}\n"
        f"Saving checkpoint at epoch {e + 1}; Avg. Running Loss: {6.4 - e / 10}\n"
        for e in range(4)
    )
    (chart,) = read(text.encode(), "log.txt")
    assert chart.epochs.tolist() == [0, 1, 2, 3]
    assert chart.values("train.loss") == pytest.approx([6.4, 6.3, 6.2, 6.1])


def test_planned_epochs_of_several_runs_are_those_of_none(read: Read) -> None:
    first = "".join(f"Epoch {e}/3 loss: 0.{9 - e}\n" for e in (1, 2, 3))
    second = "".join(f"Epoch {e}/30 loss: 0.{9 - e}\n" for e in (1, 2, 3, 4))
    assert read(first.encode(), "log.txt")[0].facts["training.epochs"] == 3
    assert all("training.epochs" not in chart.facts for chart in read((first + second).encode(), "log.txt"))


def test_splits_with_a_bare_number_each_have_their_losses(read: Read) -> None:
    text = "".join(f"Epoch {e}/8 | train=0.{9 - e}1 val=0.{8 - e}2 ptx_auc=0.{e} lr=1e-04\n" for e in (1, 2, 3))
    (chart,) = read(text.encode(), "log.txt")
    assert chart.values("train.loss").tolist() == [0.81, 0.71, 0.61]
    assert chart.values("val.loss").tolist() == [0.72, 0.62, 0.52]
    assert chart.values("val.auc").tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("line", ["Epoch {e} | train: 2.5s val: 1.2s | auc=0.{e}", "Epoch {e} | train=4000 val=500 | auc=0.{e}"])
def test_seconds_and_counts_of_splits_are_no_losses(read: Read, line: str) -> None:
    (chart,) = read("".join(line.format(e=e) + "\n" for e in (1, 2, 3)).encode(), "log.txt")
    assert not any(name.endswith("loss") for name in chart.series)
