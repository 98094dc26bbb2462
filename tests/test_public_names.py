"""The public names: what stands in `osler.__all__` is there, and nothing else is promised."""

from __future__ import annotations

import osler

PROMISED = [
    "Card",
    "Config",
    "ConfigError",
    "DataError",
    "ModelError",
    "OslerError",
    "Predictor",
    "RequestError",
    "RunError",
    "RunFolder",
    "check_loop",
    "checkup_config",
    "evaluate_run",
    "load_config",
    "load_predictor",
    "read_vitals",
    "resume_run",
    "train_run",
    "treat_run",
    "watch",
]


def test_public_names_are_the_promised_ones() -> None:
    assert osler.__all__ == PROMISED


def test_each_public_name_has_its_own_docstring() -> None:
    for name in osler.__all__:
        thing = getattr(osler, name)
        assert thing.__name__ == name
        assert thing.__doc__, name


def test_version_agrees_with_the_changelog() -> None:
    from pathlib import Path

    changelog = (Path(__file__).resolve().parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {osler.__version__}" in changelog
