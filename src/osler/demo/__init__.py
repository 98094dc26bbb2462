"""The story of a run that learned nothing: diagnosed, treated, proved, and put to work; on synthetic images."""

from __future__ import annotations

from osler.demo.stories import STORIES, Story
from osler.demo.tell import run_demo, tell

__all__ = ["STORIES", "Story", "run_demo", "tell"]
