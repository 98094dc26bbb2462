"""The stories of the demo: each configuration loads; a story is told to its end whether the run is cured or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from osler.config import load_config, merge
from osler.demo import STORIES, Story, run_demo, tell
from osler.demo.page import story_page
from osler.errors import RunError

TINY: dict[str, Any] = {
    "data": {
        "phantom": {"samples": 120, "size": 32, "findings": ["cardiomegaly"], "prevalence": 0.4},
        "split": {"ratio": [0.5, 0.35, 0.15]},
        "workers": 1,
    },
    "model": {"architecture": "small"},
    "augmentation": None,
    "training": {"epochs": 1, "batch_size": 16, "device": "cpu", "threads": 1},
}
ALL = [story for stories in STORIES.values() for story in stories]


@pytest.mark.parametrize("story", ALL, ids=lambda story: story.title)
def test_every_story_is_of_a_sick_configuration_that_loads(story: Story) -> None:
    load_config(dict(story.config))
    assert story.told.endswith(".")
    assert story.minutes > 0


def test_a_story_without_a_cure_is_told_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    story = Story("A run that is left alone", "It is short.", merge(TINY, {"training": {"learning_rate": 1e-3}}), 0.5)
    told = tell(story, tmp_path / "run")
    assert told.healthy is None
    page = story_page([told]).html()
    assert "Nothing was proved" in page
    assert "It is short." in page
    assert "not a medical device" in page.lower()


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORIES, "classification", (Story("t", "t.", TINY),))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kept.txt").write_text("mine")
    with pytest.raises(RunError, match="run"):
        run_demo(tmp_path / "run")
    assert (tmp_path / "run" / "kept.txt").read_text() == "mine"


@pytest.mark.long
@pytest.mark.parametrize("kind", STORIES)
def test_the_story_ends_well(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sick run learns nothing, the treated one does, and the interval of the difference lies above 0."""
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    for number, story in enumerate(STORIES[kind]):
        told = tell(story, tmp_path / f"run-{number}")
        assert told.diagnosis.flagged
        assert told.treatment.outcome == "helped"
        (proof,) = [one for one in told.treatment.proofs if one is not None and one.verdict == "helped"]
        assert all(one.difference.low > 0 for one in proof.comparisons)
        assert told.evaluation is not None
        figures = told.evaluation.data()["splits"]["test"]["macro"]
        assert figures["auc"]["value"] >= 0.8 if kind == "classification" else figures["dice"]["value"] >= 0.5
