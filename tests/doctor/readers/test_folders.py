"""Folders of logs and of runs: everything that is one is read, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from osler.doctor.command import diagnose_sources
from osler.doctor.readers.choose import read_charts
from osler.doctor.readers.folders import look_through
from osler.errors import DataError

CSV = "epoch,loss,val_loss\n1,0.7,0.7\n2,0.6,0.65\n3,0.5,0.6\n"
ALONE = "epoch,val_auc\n1,0.6\n2,0.7\n3,0.8\n4,0.85\n"
VITALS = {"schema": "osler.vitals/1", "train": {"loss": 0.5}, "val": {"loss": 0.6}}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_run(folder: Path, epochs: int = 3) -> Path:
    """A run folder, with tables of its own and a nested run that belong to it."""
    write(folder / "vitals.jsonl", "".join(json.dumps({**VITALS, "epoch": epoch}) + "\n" for epoch in range(1, epochs + 1)))
    write(folder / "metrics.csv", CSV)
    write(folder / "treatment" / "arms" / "rerun" / "vitals.jsonl", "")
    return folder


def names(source: Path) -> list[str]:
    return [str(Path(run.source).relative_to(source)) for run in diagnose_sources([source]).runs]


def test_a_folder_of_runs_is_its_runs_each_once(tmp_path: Path) -> None:
    for name in ("b", "a", "deeper/c"):
        write_run(tmp_path / name)
    assert names(tmp_path) == ["a", "b", "deeper/c"]
    assert {run.chart.reader for run in diagnose_sources([tmp_path]).runs if run.chart} == {"osler"}


def test_a_damaged_run_is_refused_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write(tmp_path / "b" / "vitals.jsonl", "{ no")
    write(tmp_path / "c" / "config.yaml", "")
    (tmp_path / "c" / "checkpoints").mkdir()
    done = diagnose_sources([tmp_path])
    assert [run.verdict == "refused" for run in done.runs] == [False, True, True]
    assert "first epoch has not ended" in str(done.runs[2].error)
    assert done.exit_code() == 2


def test_runs_and_other_logs_in_one_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "mine")
    write(tmp_path / "theirs" / "one.csv", CSV)
    write(tmp_path / "theirs" / "notes.txt", "nothing of note")
    assert names(tmp_path) == ["mine", "theirs/one.csv"]
    (tmp_path / "theirs" / "one.csv").unlink()
    assert names(tmp_path) == ["mine"]
    assert diagnose_sources([tmp_path]).exit_code() == 0  # notes beside a run are no log that was refused


def test_logs_of_several_projects_are_all_read(tmp_path: Path) -> None:
    """One folder with event files among them used to hide the tables of all others."""
    write(tmp_path / "keras" / "training_log.csv", CSV)
    write(tmp_path / "keras" / "logs" / "events.out.tfevents.1.host", "what the named log says again")
    write(tmp_path / "torch" / "out.txt", "\n".join(f"Epoch {e}/3 loss: 0.{9 - e} val_loss: 0.{8 - e}" for e in (1, 2, 3)))
    write(tmp_path / "board" / "run" / "events.out.tfevents.2.host", "damaged")
    write(tmp_path / "board" / "run" / "extra.csv", ALONE)  # beside event files: theirs
    assert names(tmp_path) == ["keras/training_log.csv", "torch/out.txt"]


def test_what_lies_beside_and_below_a_log_known_by_its_name_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "training_history.json", json.dumps({"loss": [0.7, 0.6, 0.5], "val_loss": [0.7, 0.65, 0.6]}))
    write(tmp_path / "history.csv", "epoch,loss\n1,0.7\n2,0.6\n3,0.5\n")  # the same again
    write(tmp_path / "second_history.json", json.dumps({"loss": [0.9, 0.8, 0.7]}))
    write(tmp_path / "metrics.json", json.dumps({"test_auc": 0.9}))
    write(tmp_path / "v2" / "one.csv", CSV)
    assert names(tmp_path) == ["second_history.json", "training_history.json", "v2/one.csv"]


def test_a_table_of_results_hides_no_event_files(tmp_path: Path) -> None:
    """It has the name of a log, and is refused: what lies below it is not told by it."""
    write(tmp_path / "results.csv", "fold,epochs,auc\n1,8,0.7\n2,8,0.8\n")
    write(tmp_path / "runs" / "a" / "events.out.tfevents.1.host", "damaged")
    with pytest.raises(DataError, match=r"(?s)results\.csv: has one row.*holds no scalars"):
        read_charts(tmp_path)
    write(tmp_path / "results.csv", CSV)
    assert names(tmp_path) == ["results.csv"]
    assert not any("passed over" in note for note in read_charts(tmp_path)[0].notes)


def test_facts_lie_beside_each_log(tmp_path: Path) -> None:
    for name, share in (("a", 0.1), ("b", 0.3)):
        write(tmp_path / name / "one.csv", CSV)
        write(tmp_path / name / "facts.yaml", f"prevalence: {share}\n")
    assert [chart.facts["prevalence.val"] for chart in read_charts(tmp_path)] == [0.1, 0.3]


def test_what_was_left_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osler.doctor.readers.choose.MOST_LOGS", 2)
    for number in range(3):
        write(tmp_path / f"{number}.csv", CSV.replace("0.5", f"0.{number}"))
    charts = read_charts(tmp_path)
    assert len(charts) == 2
    assert all("1 files more" in chart.notes[-1] for chart in charts)
    monkeypatch.setattr("osler.doctor.readers.choose.MOST_LOGS", 2_000)
    monkeypatch.setattr("osler.doctor.readers.folders.MOST_ENTRIES", 3)
    write(tmp_path / "more" / "3.csv", CSV)  # not reached
    assert "files more" in read_charts(tmp_path)[0].notes[-1]


def test_links_to_folders_are_not_followed_and_hidden_names_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.csv", CSV)
    write(tmp_path / ".cache" / "two.csv", CSV)
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [path.name for path in look_through(tmp_path).logs] == ["one.csv"]
    (tmp_path / "a" / "one.csv").unlink()
    with pytest.raises(DataError, match="empty folder"):
        read_charts(tmp_path)
