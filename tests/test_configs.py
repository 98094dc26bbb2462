"""The demo's configuration is the one in configs/, and every runnable YAML loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.config import load_config, merge
from osler.demo import DEMO

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


def test_the_demo_runs_the_configuration_that_stands_in_configs() -> None:
    named = [path for path in CONFIGS if path.stem == "phantom"]
    assert load_config(DEMO) == load_config(named[0], ["run.name=demo"])
    assert merge(DEMO, {}) == DEMO


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_states_its_cost(path: Path) -> None:
    load_config(path)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("Cost" in line for line in head), "the head of a config states its cost and the score it should reach"
