"""JSON in the shapes that people save a history in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from osler.doctor.chart import Chart
from osler.errors import DataError

Read = Callable[..., list[Chart]]
NAN = float("nan")
HISTORY = {"loss": [0.9, 0.8, 0.7], "val_loss": [0.95, 0.85, 0.75], "val_auc": [0.5, 0.6, 0.7], "lr": [1e-3, 1e-3, 5e-4]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(HISTORY),
        json.dumps(json.dumps(HISTORY)),
        json.dumps(str(HISTORY)),
        str(HISTORY),
        json.dumps({"history": HISTORY, "params": {"epochs": 3, "verbose": 1}, "epoch": [0, 1, 2]}),
        json.dumps([{"epoch": row + 1, **{key: values[row] for key, values in HISTORY.items()}} for row in range(3)]),
        "\n".join(json.dumps({"epoch": row, **{key: values[row] for key, values in HISTORY.items()}}) for row in range(3)),
        json.dumps({str(row + 1): {key: values[row] for key, values in HISTORY.items()} for row in range(3)}),
        json.dumps({key: {str(row): value for row, value in enumerate(values)} for key, values in HISTORY.items()}),
        json.dumps({"columns": list(HISTORY), "data": [list(row) for row in zip(*HISTORY.values(), strict=True)]}),
        json.dumps({"train": {"loss": HISTORY["loss"]}, "val": {"loss": HISTORY["val_loss"], "auc": HISTORY["val_auc"]}}),
        str({key: [f"np.float64({value})" for value in values] for key, values in HISTORY.items()})
        .replace("'np", "np")
        .replace(")'", ")"),
    ],
)
def test_shapes_of_one_history(read: Read, text: str) -> None:
    (chart,) = read(text, "history.json")
    assert chart.values("train.loss").tolist() == HISTORY["loss"]
    assert chart.values("val.loss").tolist() == HISTORY["val_loss"]
    assert chart.values("val.auc").tolist() == HISTORY["val_auc"]


def test_named_phases_are_one_run(read: Read) -> None:
    (chart,) = read(
        json.dumps(
            {"phase1": {"loss": [0.9, 0.8]}, "phase2": {"loss": [1.9, 0.6, 0.5]}, "config": {"batch_size": 32, "lr": 1e-3}}
        )
    )
    assert chart.phase_names == ("phase1", "phase2")
    assert chart.epochs.tolist() == [1, 2, 3, 4, 5]
    assert chart.facts["training.batch_size"] == 32
    origin = chart.facts.origin("training.learning_rate")
    assert origin is not None
    assert origin.assumed


def test_named_folds_are_runs(read: Read) -> None:
    charts = read(json.dumps({"fold_0": {"val_auc": [0.5, 0.6]}, "fold_1": {"val_auc": [0.55, 0.65]}}))
    assert [chart.values("val.auc")[0] for chart in charts] == [0.5, 0.55]
    assert charts[1].source.endswith("#fold_1")


def test_lists_of_other_lengths_are_spread(read: Read) -> None:
    (chart,) = read(json.dumps({"loss": [0.9, 0.8, 0.7, 0.6], "val_loss": [0.8, 0.6]}))
    np.testing.assert_array_equal(chart.values("val.loss"), [NAN, 0.8, NAN, 0.6])
    assert "one every 2 epochs" in chart.notes[0]
    (chart,) = read(json.dumps({"train_loss": list(np.linspace(1, 0, 40)), "val_loss": [0.9, 0.5], "val_auc": [0.5, 0.6]}))
    assert len(chart) == 2
    assert chart.values("train.loss")[0] == pytest.approx(np.linspace(1, 0, 40)[:20].mean())


def test_missing_and_not_finite(read: Read) -> None:
    (chart,) = read('{"loss": [0.9, NaN, null, Infinity], "val_loss": [0.9, 0.8, "nan", 0.7]}')
    assert chart.nonfinite_epochs("train.loss").tolist() == [2.0, 4.0]
    assert np.isnan(chart.values("train.loss")[2])
    assert chart.nonfinite_epochs("val.loss").tolist() == [3.0]


def test_a_list_for_each_class(read: Read) -> None:
    (chart,) = read(
        json.dumps(
            {
                "loss": [0.9, 0.8],
                "val_auc": [[0.5, 0.6], [0.6, 0.7]],
                "val_f1": [{"Edema": 0.1, "Hernia": 0.2}, {"Edema": 0.3, "Hernia": 0.4}],
            }
        )
    )
    assert chart.by_class("val.auc").tolist() == [[0.5, 0.6], [0.6, 0.7]]
    assert chart.by_class("val.f1", ["Edema", "Hernia"]).tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert chart.values("val.f1").tolist() == pytest.approx([0.15, 0.35])


def test_objects_by_class_alone_beside_lists(read: Read) -> None:
    value = {
        "epochs": [1, 2],
        "train_loss": [0.9, 0.8],
        "per_class_auc": [{"Edema": 0.5, "Mass": 0.6}, {"Edema": 0.6, "Mass": 0.7}],
    }
    (chart,) = read(json.dumps(value))
    assert chart.by_class("val.auc", ["Edema", "Mass"]).tolist() == [[0.5, 0.6], [0.6, 0.7]]


def test_lines_with_a_mode_and_a_last_one_cut_short(read: Read) -> None:
    lines = [
        json.dumps({"mode": mode, "epoch": epoch, "iter": 10, "loss": 1.0 / epoch + (mode == "val")})
        for epoch in (1, 2)
        for mode in ("train", "val")
    ]
    (chart,) = read("\n".join(["{" + '"env": "x"}', *lines, '{"mode": "tr']))
    assert chart.values("train.loss").tolist() == [1.0, 0.5]
    assert chart.values("val.loss").tolist() == [2.0, 1.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2, 3]", "list without records"),
        ('{"a": 1}', "no lists of numbers"),
        ('{"weather": [1, 2]}', "known as a loss or score"),
        ("{}", "no lists"),
        ('{"loss": [0.5, 0.4', "not a training log"),
        ("[" * 100_000, "not a training log"),
    ],
)
def test_other_json_is_refused(read: Read, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(text, "x.json")


RECORDS = [
    {"epoch": epoch, "train": {"loss": 0.8 - epoch / 10}, "val": {"loss": 0.7, "auc": 0.5 + epoch / 10}} for epoch in (1, 2, 3)
]


@pytest.mark.parametrize(
    "text", [{"config": {"lr": 0.001}, "best": 0.8, "history": RECORDS}, {"run": {"history": RECORDS}, "seed": 1}]
)
def test_records_within_an_object(read: Read, text: object) -> None:
    (chart,) = read(json.dumps(text), "run.json")
    assert chart.epochs.tolist() == [1.0, 2.0, 3.0]
    assert chart.values("train.loss").tolist() == pytest.approx([0.7, 0.6, 0.5])
    assert chart.values("val.auc").tolist() == pytest.approx([0.6, 0.7, 0.8])


@pytest.mark.parametrize(
    "text",
    [
        {"fold_1": RECORDS, "fold_2": RECORDS[:2]},
        [{"fold": fold, "best": 0.9, "history": {"train_loss": [0.7, 0.6], "val_auc": [0.6, 0.7]}} for fold in (1, 2)],
        [{"model": name, "train_losses": [0.7, 0.6], "val_aucs": [0.6, 0.7]} for name in ("a", "b")],
    ],
)
def test_histories_of_folds_are_runs(read: Read, text: object) -> None:
    charts = read(json.dumps(text), "folds.json")
    assert len(charts) == 2
    for chart in charts:
        assert chart.values("train.loss").tolist()[:2] == pytest.approx([0.7, 0.6])
        assert chart.values("val.auc").tolist()[:2] == pytest.approx([0.6, 0.7])


def test_lists_of_classes_within_epochs_are_no_histories(read: Read) -> None:
    (chart,) = read(
        json.dumps([{"epoch": 1.0, "loss": 0.7, "val_auc": [0.6, 0.7]}, {"epoch": 2.0, "loss": 0.6, "val_auc": [0.7, 0.8]}])
    )
    assert chart.values("val.auc[0]").tolist() == [0.6, 0.7]


def test_results_by_class_are_no_course(read: Read) -> None:
    with pytest.raises(DataError):
        read(
            json.dumps({"accuracy": 0.8, "per_class_recall": [0.9, 0.5, 0.3], "confusion_matrix": [[5, 1], [2, 3]]}),
            "metrics.json",
        )
    (chart,) = read(json.dumps({"loss": [0.7, 0.6], "val_loss": [0.7, 0.6], "per_class_f1": [0.9, 0.1]}), "history.json")
    assert sorted(chart.series) == ["train.loss", "val.loss"]


@pytest.mark.parametrize(
    "value",
    [
        {"ece": 0.07, "bins": [{"bin_index": k, "accuracy": 0.1 * k, "confidence": 0.1 * k + 0.03} for k in range(10)]},
        {"split": "test", "results": {"all": [{"threshold": 0.05 * k, "recall": 1 - 0.04 * k, "f1": 0.5} for k in range(1, 9)]}},
    ],
)
def test_results_by_bin_or_threshold_are_no_course(read: Read, value: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="for each"):
        read(json.dumps(value), "results.json")


def test_thresholds_beside_losses_are_a_course(read: Read) -> None:
    (chart,) = read(json.dumps({"history": {"loss": [0.7, 0.6, 0.5], "best": {"threshold": [0.3, 0.4, 0.5]}}}), "history.json")
    assert chart.values("train.loss").tolist() == [0.7, 0.6, 0.5]


def test_json_is_not_gone_through_for_lines_of_a_log(read: Read) -> None:
    text = json.dumps({"report": {"epoch": 3, "val_accuracy": 93.5, "text": "Epoch 1 loss 0.5"}}, indent=1)
    with pytest.raises(DataError, match="no lists of numbers"):
        read(text, "analysis.json")


def test_names_that_only_say_history(read: Read) -> None:
    (chart,) = read(json.dumps({"train_loss_history": [0.7, 0.6], "val_acc_history": [0.5, 0.6], "lrs": [0.1, 0.01]}))
    assert sorted(chart.series) == ["learning_rate", "train.loss", "val.accuracy"]
