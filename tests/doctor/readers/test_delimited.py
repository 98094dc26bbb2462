"""Tables: Keras, Lightning, YOLO, and tables that no program would write so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.doctor.chart import Chart
from osler.errors import DataError

Read = Callable[..., list[Chart]]
NAN = float("nan")


def test_keras(read: Read) -> None:
    (chart,) = read(
        "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n0,0.5,0.001,0.9,0.6,0.8\n1,0.6,0.0005,0.7,0.65,0.75\n"
    )
    assert chart.reader == "csv.keras"
    assert chart.epochs.tolist() == [0.0, 1.0]
    assert chart.values("train.accuracy").tolist() == [0.5, 0.6]
    assert chart.values("val.loss").tolist() == [0.8, 0.75]
    assert chart.values("learning_rate").tolist() == [0.001, 0.0005]
    assert chart.series["train.loss"].where == "column 4"
    assert not chart.assumed(*chart.series)


def test_lightning_rows_with_gaps_are_merged(read: Read) -> None:
    text = (
        "epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_auc,val_loss\n"
        ",0.001,0,,,,\n"
        "0,,49,,0.9,,\n"
        "0,,99,,0.7,,\n"
        "0,,99,,,0.61,0.66\n"
        "0,,99,0.8,,,\n"
        ",0.0005,100,,,,\n"
        "1,,149,,0.6,,\n"
        "1,,199,,,0.71,0.56\n"
        "1,,199,0.65,,,\n"
    )
    (chart,) = read(text)
    assert chart.reader == "csv.lightning"
    assert chart.epochs.tolist() == [0.0, 1.0]
    assert chart.values("train.loss").tolist() == [0.8, 0.65]
    assert chart.values("val.auc").tolist() == [0.61, 0.71]
    assert chart.values("learning_rate").tolist() == [0.001, 0.0005]


def test_steps_are_averaged_and_kept_as_a_trace(read: Read) -> None:
    rows = "".join(f"{step // 10},{step},{1 / (1 + step)}\n" for step in range(30))
    (chart,) = read("epoch,step,train_loss\n" + rows)
    assert len(chart) == 3
    assert chart.values("train.loss")[0] == pytest.approx(np.mean([1 / (1 + step) for step in range(10)]))
    assert "mean of about 10" in chart.series["train.loss"].assumed[0]
    trace = chart.traces["train.loss"]
    assert trace.steps.tolist() == list(range(30))
    assert trace.epochs.tolist() == [step // 10 for step in range(30)]


def test_yolo(read: Read) -> None:
    text = (
        "                  epoch,         train/box_loss,         train/cls_loss,   metrics/precision(B),       metrics/mAP50(B),"
        "           val/box_loss,           val/cls_loss,                 lr/pg0,                 lr/pg1\n"
        "                      1,                    1.5,                    2.5,                    0.3,                    0.2,"
        "                    1.4,                    2.0,                   0.01,                   0.02\n"
        "                      2,                    1.2,                    2.0,                    0.4,                    0.3,"
        "                    1.3,                    1.9,                  0.008,                   0.01\n"
    )
    (chart,) = read(text, "results.csv")
    assert chart.reader == "csv.yolo"
    assert chart.values("train.loss").tolist() == [4.0, 3.2]
    assert chart.values("val.loss[box]").tolist() == [1.4, 1.3]
    assert "unweighted" in chart.series["train.loss"].assumed[0]
    assert chart.values("val.precision").tolist() == [0.3, 0.4]
    assert chart.values("learning_rate").tolist() == [0.01, 0.008]


@pytest.mark.parametrize(
    "text",
    [
        "epoch;loss;val_loss;val_acc\n1;0,62;0,60;61,5\n2;0,52;0,50;70,5\n",
        "epoch\tloss\tval_loss\tval_acc\n1\t0.62\t0.60\t61.5 %\n2\t0.52\t0.50\t70.5 %\n",
        'epoch,loss,val_loss,val_acc\n1,"0,62","0,60","61,5 %"\n2,"0,52","0,50","70,5 %"\n',
        "# epoch  loss  val_loss  val_acc\n  1      0.62  0.60      61.5%\n  2      0.52  0.50      70.5%\n",
        "a comment about the run\n\nEpoch | Loss | Val Loss | Val Acc (%)\n1 | .62 | .60 | 61.5\n2 | .52 | .50 | 70.5\n",
        "epoch, loss, val_loss, val_acc,\r\n1, 0.62, 0.60, 0.615\r\n2, 0.52, 0.50, 0.705\r\n",
        "\ufeffEpoch,Train Loss,Valid Loss,Valid Accuracy\n1/2,0.62,0.60,0.615\n2/2,0.52,0.50,0.705\n",
    ],
)
def test_locales_delimiters_and_percentages(read: Read, text: str) -> None:
    (chart,) = read(text)
    assert chart.epochs.tolist() == [1.0, 2.0]
    assert chart.values("train.loss").tolist() == [0.62, 0.52]
    assert chart.values("val.loss").tolist() == [0.6, 0.5]
    np.testing.assert_allclose(chart.values("val.accuracy"), [0.615, 0.705])


def test_percentages_without_a_sign_are_assumed(read: Read) -> None:
    (chart,) = read("epoch,train_acc,val_acc,val_dice\n1,55,54,1.4\n2,65,60,1.6\n")
    assert chart.values("val.accuracy").tolist() == [0.54, 0.6]
    assert "percentages" in chart.series["val.accuracy"].assumed[0]
    # A Dice above one is no percentage: masks of 0 and 255 give it. It is kept, and marked.
    assert chart.values("val.dice").tolist() == [1.4, 1.6]
    assert "outside the range" in chart.series["val.dice"].assumed[0]


def test_bare_names_beside_named_ones(read: Read) -> None:
    (chart,) = read("epoch,train loss,val loss,train auc,val auc,precision,recall\n1,.9,.8,.5,.6,.1,1\n2,.8,.7,.6,.7,.2,.9\n")
    assert chart.values("val.precision").tolist() == [0.1, 0.2]
    assert "training are named" in chart.series["val.precision"].assumed[0]
    (chart,) = read("epoch,loss,accuracy,val_loss\n1,.9,.5,.8\n2,.8,.6,.7\n")
    assert chart.values("train.accuracy").tolist() == [0.5, 0.6]
    (chart,) = read("epoch,train_loss,valid_loss,accuracy,time\n0,.9,.8,.5,00:10\n1,.8,.7,.6,00:11\n")
    assert chart.values("val.accuracy").tolist() == [0.5, 0.6]


def test_a_watched_test_set_plays_the_validation(read: Read) -> None:
    (chart,) = read("epoch,train_loss,test_loss\n1,.9,.8\n2,.8,.7\n")
    assert chart.values("val.loss").tolist() == [0.8, 0.7]
    assert "calls this set test" in chart.series["val.loss"].assumed[0]
    (chart,) = read("epoch,train_loss,val_loss,test_loss\n1,.9,.8,.85\n2,.8,.7,.75\n")
    assert chart.values("test.loss").tolist() == [0.85, 0.75]


def test_a_row_for_each_split(read: Read) -> None:
    (chart,) = read("epoch,phase,loss,acc\n1,train,.9,.5\n1,val,.8,.6\n2,train,.7,.6\n2,val,.6,.7\n")
    assert chart.values("train.loss").tolist() == [0.9, 0.7]
    assert chart.values("val.accuracy").tolist() == [0.6, 0.7]


def test_folds_are_runs_of_their_own(read: Read) -> None:
    rows = "".join(f"{fold},{epoch},{0.9 - 0.1 * epoch + 0.01 * fold}\n" for fold in (1, 2, 3) for epoch in range(4))
    charts = read("fold,epoch,val_loss\n" + rows, "cv.csv")
    assert [chart.source.rpartition("#")[2] for chart in charts] == ["1", "2", "3"]
    assert charts[2].values("val.loss")[0] == pytest.approx(0.93)


def test_a_restart_from_scratch_is_another_run(read: Read) -> None:
    first = "".join(f"{epoch},{1.0 - 0.15 * epoch}\n" for epoch in range(5))
    charts = read("epoch,loss\n" + first + first)
    assert [len(chart) for chart in charts] == [5, 5]
    assert "2 runs" in charts[0].notes[0]
    # With its header standing again between, it is the same.
    assert len(read("epoch,loss\n" + first + "epoch,loss\n" + first)) == 2


def test_a_restart_that_goes_on_is_a_phase(read: Read) -> None:
    head = "".join(f"{epoch},{1.0 - 0.1 * epoch}\n" for epoch in range(1, 6))
    tuned = "".join(f"{epoch},{0.5 - 0.05 * epoch}\n" for epoch in range(1, 4))
    (chart,) = read("epoch,loss\n" + head + tuned)
    assert chart.phases is not None
    assert chart.phases.tolist() == [0] * 5 + [1] * 3
    assert chart.epochs.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert chart.logged_epochs is not None
    assert chart.logged_epochs.tolist() == [1, 2, 3, 4, 5, 1, 2, 3]


def test_epochs_twice_missing_and_resumed(read: Read) -> None:
    (chart,) = read("epoch,loss\n1,.9\n2,.8\n2,.81\n3,.7\n4,.6\n6,.5\n7,.4\n8,.3\n")
    assert chart.epochs.tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert chart.values("train.loss")[1] == 0.81
    assert any("missing in the log: 5" in note for note in chart.notes)
    (chart,) = read("epoch,loss\n1,.9\n2,.8\n3,.7\n4,.6\n3,.71\n4,.61\n5,.5\n")
    assert chart.values("train.loss").tolist() == [0.9, 0.8, 0.71, 0.61, 0.5]
    assert "resumed" in chart.notes[0]


def test_rows_out_of_order_are_sorted(read: Read) -> None:
    order = [9, 8, 7, 6, 5, 4, 3, 2]
    (chart,) = read("epoch,loss\n" + "".join(f"{epoch},{epoch / 10}\n" for epoch in order))
    assert chart.epochs.tolist() == sorted(order)
    assert chart.values("train.loss").tolist() == [epoch / 10 for epoch in sorted(order)]


def test_validation_every_few_epochs_leaves_gaps(read: Read) -> None:
    (chart,) = read("epoch,loss,val_loss\n1,.9,\n2,.8,.7\n3,.7,\n4,.6,.5\n")
    np.testing.assert_array_equal(chart.values("val.loss"), [NAN, 0.7, NAN, 0.5])
    assert not chart.series["val.loss"].nonfinite.any()


def test_not_a_number_is_not_missing(read: Read) -> None:
    (chart,) = read("epoch,loss,val_loss\n1,.9,.8\n2,nan,-inf\n3,,.7\n")
    assert chart.nonfinite_epochs("train.loss").tolist() == [2.0]
    assert chart.nonfinite_epochs("val.loss").tolist() == [2.0]


def test_classes_and_their_mean(read: Read) -> None:
    (chart,) = read("epoch,val_dice_1,val_dice_2,val_auc_1\n1,.2,.4,.5\n2,.3,.5,.6\n")
    assert chart.parts("val.dice") == ("1", "2")
    np.testing.assert_allclose(chart.values("val.dice"), [0.3, 0.4])
    # Keras numbers a metric that stands alone, too.
    assert chart.values("val.auc").tolist() == [0.5, 0.6]
    assert chart.parts("val.auc") == ()


def test_without_epochs_rows_are_counted(read: Read) -> None:
    (chart,) = read("loss,val_loss\n.9,.8\n.8,.7\n")
    assert chart.axis == "row"
    assert chart.epochs.tolist() == [1.0, 2.0]
    assert "rows are counted" in chart.notes[0]


def test_error_and_running_clock_are_turned(read: Read) -> None:
    rows = "".join(f"{epoch},{0.5 - 0.01 * epoch},{10.0 * epoch}\n" for epoch in range(1, 8))
    (chart,) = read("epoch,val_error,time\n" + rows)
    assert chart.values("val.accuracy")[0] == pytest.approx(0.51)
    np.testing.assert_allclose(chart.values("seconds.epoch"), 10.0)


def test_a_column_that_is_not_understood_is_listed(read: Read) -> None:
    (chart,) = read("epoch,loss,weather\n1,.9,3\n2,.8,4\n")
    assert chart.ignored == ("weather",)


def test_tables_of_something_else_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match="known columns"):
        read("name,age\nx,3\ny,4\n")
    with pytest.raises(DataError, match="no rows of numbers"):
        read("epoch,loss\n1,\n2,\n")


def test_a_large_regular_table_reads_as_a_small_one(read: Read) -> None:
    """Large tables are cut at once, small ones row by row."""
    head = "epoch,step,loss,val_loss\n"
    rows = [f"{step // 100},{step},{1 / (1 + step):.6f},{'' if step % 100 < 99 else 0.5}\n" for step in range(5_000)]
    (fast,) = read(head + "".join(rows))
    (slow,) = read(head + "".join(rows).replace(",", " ,"))
    for name in ("train.loss", "val.loss"):
        np.testing.assert_array_equal(fast.values(name), slow.values(name))
    assert len(fast) == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,accuracy,f1\nresnet18,0.8,0.7\nvit,0.9,0.8\n", "one row for each of 'resnet18', 'vit'"),
        ("fold,accuracy,auc\n1,0.8,0.9\n2,0.8,0.9\n3,0.7,0.9\n", "one row for each"),
        ("class_name,precision,recall\nHernia,0.8,0.7\nMass,0.9,0.8\n", "one row for each of 'Hernia', 'Mass'"),
        (",precision,recall,f1-score\nHernia,0.8,0.7,0.7\nmacro avg,0.9,0.8,0.8\n", "one row for each"),
        (
            "          precision    recall  f1-score\n\n  benign     0.25      0.52      0.33\n"
            "  malignant     0.90      0.80      0.85\n",
            "one row for each of 'benign', 'malignant'",
        ),
        ("threshold,precision,recall\n0.1,0.2,0.9\n0.2,0.3,0.8\n0.3,0.4,0.7\n", "row for each 'threshold'"),
        ("bin,accuracy,gap\n0,0.1,0.2\n1,0.2,0.1\n", "table of results"),
    ],
)
def test_results_are_no_course(read: Read, text: str, message: str) -> None:
    """A table that compares networks, folds, classes or thresholds has rows too, and none of them is an epoch."""
    with pytest.raises(DataError, match=message):
        read(text, "results.csv")


@pytest.mark.parametrize("first", ["fold", "model", "seed"])
def test_a_row_for_each_run_with_its_number_of_epochs_is_no_course(read: Read, first: str) -> None:
    rows = "".join(f"{number},8,0.{number}\n" for number in (6, 7, 8))
    with pytest.raises(DataError, match="one row for each of '6', '7', '8'"):
        read(f"{first},epochs,auc\n{rows}", "results.csv")


def test_masks_are_preferred_to_boxes_and_the_rate_that_most_groups_have(read: Read) -> None:
    header = "epoch,train/box_loss,metrics/mAP50(B),metrics/recall(B),metrics/mAP50(M),metrics/recall(M),lr/pg0,lr/pg1,lr/pg2"
    rows = "".join(f"{e},0.{9 - e},0.{e}9,0.{e}8,0.{e}1,0.{e}2,0.{9 - e}7,0.00{e},0.00{e}\n" for e in (1, 2, 3))
    (chart,) = read(f"{header}\n{rows}", "results.csv")
    assert chart.values("val.map50").tolist() == [0.11, 0.21, 0.31]
    assert chart.values("val.recall").tolist() == [0.12, 0.22, 0.32]
    assert chart.values("learning_rate").tolist() == [0.001, 0.002, 0.003]


def test_a_column_that_differs_by_epoch_is_no_name_of_a_run(read: Read) -> None:
    (chart,) = read("epoch,version,loss\n1,a,0.5\n2,b,0.4\n3,c,0.3\n")
    assert chart.values("train.loss").tolist() == [0.5, 0.4, 0.3]
    (chart,) = read("checkpoint,loss,val_loss\ne1.pt,0.5,0.6\ne2.pt,0.4,0.5\n")
    assert len(chart) == 2


@pytest.mark.parametrize(
    "header",
    [
        "Epoche;Trainingsverlust;Validierungsverlust;Validierungsgenauigkeit",
        "에포크;학습 손실;검증 손실;검증 정확도",
        "エポック;訓練損失;検証損失;検証正解率",
        "Epok;Eğitim Kaybı;Doğrulama Kaybı;Doğrulama Doğruluğu",
    ],
)
def test_headers_in_other_languages(read: Read, header: str) -> None:
    (chart,) = read(f"{header}\n1;0,69;0,66;55,5 %\n2;0,62;0,61;60,5 %\n")
    assert chart.values("train.loss").tolist() == [0.69, 0.62]
    assert chart.values("val.loss").tolist() == [0.66, 0.61]
    assert chart.values("val.accuracy").tolist() == pytest.approx([0.555, 0.605])


def test_the_column_with_more_epochs_stands_for_the_figure(read: Read) -> None:
    rows = "".join(f"{epoch},0.{epoch},{0.5 if epoch == 1 else ''}\n" for epoch in range(1, 7))
    (chart,) = read("epoch,train_loss,training loss\n" + rows)
    assert np.isfinite(chart.values("train.loss")).all()
    (chart,) = read("epoch,training loss,train_loss\n" + "".join(f"{e},{0.5 if e == 1 else ''},0.{e}\n" for e in range(1, 7)))
    assert np.isfinite(chart.values("train.loss")).all()
