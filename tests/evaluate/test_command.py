"""`osler evaluate`: what it leaves in the run folder, what it records, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.errors import RunError
from osler.evaluate import evaluate_run
from osler.runs.folder import RunFolder
from osler.runs.looks import log_look, looks_file, read_looks
from osler.runs.predictions import Predictions

MakeRun = Callable[..., RunFolder]


def never(run: RunFolder, checkpoint: str, data: Path | None) -> Mapping[str, Predictions]:
    raise AssertionError("the run holds what is asked for")


def test_figures_and_page_are_written_into_the_run(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    found = evaluate_run(run.path, "best", None, never)
    written = json.loads(run.evaluation_file.read_text(encoding="utf-8"))
    assert written == json.loads(found.json_text())
    assert written["run"] == str(run.path)
    assert found.page == run.path / "report.html"
    html, markdown = found.page.read_text(encoding="utf-8"), (run.path / "report.md").read_text(encoding="utf-8")
    auc = written["splits"]["test"]["classes"]["nodule"]["auc"]
    for text in (html, markdown):
        assert f"{auc['value']:.3f}" in text
        assert "Not a medical device" in text
    assert not [path for path in run.path.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


@pytest.mark.parametrize(
    ("task", "classes"), [("binary", ["nodule"]), ("multilabel", ["a", "b"]), ("multiclass", ["x", "y", "z"])]
)
def test_the_page_has_every_section_and_needs_nothing_else(make_run: MakeRun, task: str, classes: list[str]) -> None:
    run = make_run(task, classes)
    html = evaluate_run(run.path, "best", None, never).page.read_text(encoding="utf-8")
    for section in (
        "summary",
        "ranking",
        "decisions",
        "calibration",
        "subgroups",
        "splits",
        "training",
        "the-run",
        "use-and-limits",
    ):
        assert f'<section id="{section}">' in html
    assert all(name in html for name in classes)
    assert not re.search(r'(src|href)="(?!data:image/|#)', html)
    assert "<script" not in html


def test_every_look_at_test_is_recorded_and_counted(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    first = evaluate_run(run.path, "best", None, never)
    second = evaluate_run(run.path, "best", None, never)
    assert (first.looks, second.looks) == ({"test": 1}, {"test": 2})
    lines = [json.loads(line) for line in looks_file(run).read_text(encoding="utf-8").splitlines()]
    assert [line["split"] for line in lines] == ["test", "test"]
    assert lines[0]["checkpoint"] == "best"
    assert lines[0]["command"].startswith("evaluate")
    assert lines[0]["predictions"] == lines[1]["predictions"] == Predictions.load(run.predictions / "test.npz").digest()
    assert "looked at 2 times for this run, all at the same predictions" in second.page.read_text(encoding="utf-8")


def test_other_checkpoints_and_data_are_predicted_again(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    kept = {split: Predictions.load(run.predictions / f"{split}.npz") for split in ("val", "test")}
    asked: list[tuple[str, Path | None]] = []

    def again(where: RunFolder, checkpoint: str, data: Path | None) -> Mapping[str, Predictions]:
        assert where.path == run.path
        asked.append((checkpoint, data))
        return {"external": kept["test"]} if data else kept

    with pytest.raises(Exception, match="subgroups"):
        evaluate_run(run.path, "last", None, again)
    run.write_config(
        run.config().model_copy(update={"evaluation": run.config().evaluation.model_copy(update={"subgroups": "auto"})})
    )
    assert evaluate_run(run.path, "last", None, again).checkpoint == "last"
    found = evaluate_run(run.path, "best", Path("other.csv"), again)
    assert asked == [("last", None), ("last", None), ("best", Path("other.csv"))]
    assert (found.source, found.main, found.looks) == ("other.csv", "external", {"external": 1})
    assert len(read_looks(run, "test")) == 2


def test_without_a_test_split_the_page_says_that_nothing_was_held_out(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"], test=None)
    found = evaluate_run(run.path, "best", None, never)
    assert found.looks == {}
    assert not looks_file(run).exists()
    assert "Nothing was held out" in found.page.read_text(encoding="utf-8")


def test_a_model_at_chance_is_called_so(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"], skill=0.0)
    assert "Not shown to be better than chance" in evaluate_run(run.path, "best", None, never).page.read_text(encoding="utf-8")


def test_a_good_model_is_not(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"], skill=2.0)
    html = evaluate_run(run.path, "best", None, never).page.read_text(encoding="utf-8")
    assert "better than chance" not in html
    assert "Worse than chance" not in html


def test_a_class_without_positives_in_test_is_on_the_page(make_run: MakeRun) -> None:
    run = make_run("multilabel", ["a", "b"])
    test = Predictions.load(run.predictions / "test.npz")
    test.targets[:, 1] = 0
    test.save(run.predictions / "test.npz")
    html = evaluate_run(run.path, "best", None, never).page.read_text(encoding="utf-8")
    assert "b: no positives in test. Means leave it out." in html


def test_a_run_without_vitals_facts_or_splits_has_a_page_without_them(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"], config={"evaluation": {"bootstrap": 100}})
    for path in (run.vitals_file, run.facts_file, run.env_file, run.splits_file):
        path.unlink()
    html = evaluate_run(run.path, "best", None, never).page.read_text(encoding="utf-8")
    assert '<section id="training">' not in html
    assert '<section id="subgroups">' not in html
    assert '<section id="ranking">' in html


def test_a_run_that_did_not_finish_is_refused(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    for split in ("val", "test"):
        (run.predictions / f"{split}.npz").unlink()
    with pytest.raises(RunError, match=r"osler resume"):
        evaluate_run(run.path, "best", None, never)
    run.card_file.unlink()
    with pytest.raises(RunError, match=r"card\.json"):
        evaluate_run(run.path, "best", None, never)


def test_a_look_that_cannot_be_recorded_shows_nothing(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    looks_file(run).mkdir()
    with pytest.raises(RunError, match="cannot be recorded"):
        evaluate_run(run.path, "best", None, never)
    assert not run.evaluation_file.exists()


def test_a_look_cut_short_by_a_kill_still_counts(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    log_look(run, command="evaluate", split="test", checkpoint="best", predictions="a")
    with looks_file(run).open("a", encoding="utf-8") as file:
        file.write('{"time": "2026')
    assert len(read_looks(run, "test")) == 2


def test_a_damaged_line_does_not_swallow_the_next_look(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"])
    looks_file(run).write_text('{"time": "2026', encoding="utf-8")
    log_look(run, command="evaluate", split="test", checkpoint="best", predictions="a")
    assert len(read_looks(run, "test")) == 2


def test_large_sets_give_small_pages(make_run: MakeRun) -> None:
    run = make_run("binary", ["nodule"], val=300, test=20_000)
    page: Any = evaluate_run(run.path, "best", None, never).page
    assert page.stat().st_size < 600_000
    assert np.isfinite(json.loads(run.evaluation_file.read_text())["splits"]["test"]["macro"]["auc"]["value"])
