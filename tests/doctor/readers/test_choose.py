"""Choosing a reader, folders of logs, facts beside them; and any file at all is read or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from osler.doctor.chart import Chart
from osler.doctor.facts import Facts
from osler.doctor.readers.choose import read_charts
from osler.errors import ConfigError, DataError, OslerError


def charts_or_reason(path: Path) -> list[Chart] | str:
    try:
        return read_charts(path)
    except OslerError as error:
        return str(error)


CSV = "epoch,loss,val_loss\n1,.9,.8\n2,.8,.7\n"

WORDS = [
    "epoch", "Epoch 1/3", "loss", "val_loss", "train", "acc", "auc", "lr", "1", "0", "0.5", "nan", "inf", "1e400", "-1e308",
    "12%",
    "0,5", "1.234,5", "²", "٣", "n/a", "tensor(0.3)", "[", "]", "{", "}", "(", ")", ":", "=", ",", ";", "\t", "|", "|---|---|",
    "\n", "\n", "\r", "\b\b", "\x1b[1m", '"', "'", "/", "%", "#", "best", "fold", "phase", "split", "step", "[Epoch 2]",
    "Epoch: [1][5/10]", "Loss 0.5 (0.6)", "class 1:", '{"loss": [1, 2, 3]}', '{"epoch": 1, "loss": 0.5}',
    '{"log_history": [{"epoch": 1.0, "loss": 0.5}]}', '{"schema": "osler.vitals/1", "epoch": 1}', "Pseudo dice [0.1, nan]",
    "\x00",
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\x80\x04\x95", "pickle"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x89PNG\r\n", "image"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"\x89HDF\r\n", "weights"),
        (bytes(range(256)) * 40, "binary"),
        (b"Dear all,\nthe meeting is at noon.\n", "not a training log"),
        (b"\xff\xfe", "not a training log"),
    ],
)
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_charts(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_charts(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="not a regular file"):
        read_charts("/dev/zero")
    with pytest.raises(DataError):
        read_charts("a\x00b")
    with pytest.raises(DataError, match="empty folder"):
        read_charts(tmp_path)


def test_facts_beside_the_log(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    (tmp_path / "hparams.yaml").write_text("optimizer: {lr: 0.001}\nbatch_size: 32\nepochs: 50\n")
    (tmp_path / "facts.yaml").write_text("training: {epochs: 60}\nprevalence: 10 %\n")
    (chart,) = read_charts(tmp_path / "metrics.csv", Facts.of({"prevalence": 0.2}, "--fact"))
    assert chart.facts["training.epochs"] == 60
    assert chart.facts["training.batch_size"] == 32
    assert chart.facts["prevalence.val"] == 0.2
    (tmp_path / "facts.yaml").write_text("training: {epoch: 60}\n")
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        read_charts(tmp_path / "metrics.csv")


def test_a_folder_with_a_log_known_by_name_and_others(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    (tmp_path / "other.csv").write_text("epoch,loss\n1,5\n2,4\n")
    (tmp_path / "same.csv").write_text(CSV.replace("\n1,", "\n01,"))
    assert [Path(chart.source).name for chart in read_charts(tmp_path)] == ["metrics.csv", "other.csv"]


def test_tables_of_one_run_are_joined(tmp_path: Path) -> None:
    (tmp_path / "train_losses.csv").write_text(CSV)
    (tmp_path / "train_metrics.csv").write_text("epoch,dice,val_dice\n1,.3,.2\n2,.4,.3\n")
    (tmp_path / "notes.txt").write_text("nothing")
    (chart,) = read_charts(tmp_path)
    assert set(chart.series) == {"train.loss", "val.loss", "train.dice", "val.dice"}
    assert "joined with train_metrics.csv" in chart.notes[0]


def test_a_folder_of_other_things_says_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"notes\.txt: is not a training log"):
        read_charts(tmp_path)


def test_reading_imports_little(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps({"loss": [0.5, 0.4]}))
    code = (
        "import sys; from osler.doctor.readers.choose import read_charts; read_charts(sys.argv[1]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "pandas", "matplotlib", "scipy", "pydantic", "yaml", "tensorboard", "cv2", "rich", "typer"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(WORDS), max_size=80).map(lambda words: " ".join(words).encode()))
)
@example(b"epoch,loss\n" + b'"' * 3)
@example("Epoch 1 loss: ²".encode())
@example(b"loss\n" + b"9" * 5000)
def test_any_file_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    result = charts_or_reason(path)
    if isinstance(result, str):
        assert str(path) in result
        return
    for chart in result:
        json.dumps(chart.to_json(), allow_nan=False)
        assert np.all(np.diff(chart.epochs) > 0)
        assert not any(np.isinf(series.values).any() for series in chart.series.values())


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        "epoch,step,loss\n" + "".join(f"{step // 10_000},{step},0.5\n" for step in range(1_000_000)),
        "".join(f"Epoch {step // 10_000} Step {step} loss: 0.{step % 1000:03d}\n" for step in range(1_000_000)),
        "".join(f'{{"epoch": {step // 10_000}, "loss": 0.5}}\n' for step in range(1_000_000)),
        "epoch,loss\n" + "".join(f"{step % 2},{step}\n" for step in range(1_000_000)),
    ],
    ids=["csv", "console", "json lines", "restarts"],
)
def test_a_million_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    assert read_charts(path)[0].has("train.loss", points=2)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2_000_000,
        "loss: 0.5 " * 200_000,
        "[" * 500_000,
        '{"a":' * 100_000,
        'epoch,loss\n"' + "1,2\n" * 50_000,
        "|" * 300_000 + "\n" + "|-" * 100_000,
        "\t" * 1_000_000 + "1",
        "\x1b[" * 300_000,
        ",".join(["loss"] * 100_000) + "\n" + ",".join(["1"] * 100_000),
    ],
)
def test_lines_without_end(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    result = charts_or_reason(path)
    assert isinstance(result, list) or len(result) < 2_000
