"""Every runnable YAML loads, and says what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.config import load_config

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_states_its_cost(path: Path) -> None:
    load_config(path)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("Cost" in line for line in head), "the head of a config states its cost and the score it should reach"
