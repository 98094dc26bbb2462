"""Callbacks over stand-ins of their frameworks: a fresh copy of the module, that finds the stand-in where it looks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import osler.adapters


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """`over("for_keras", "keras.callbacks", Callback=Base)`: the adapter over a stand-in; without names it is missing."""

    def load(adapter: str, framework: str, **names: Any) -> ModuleType:
        top = framework.partition(".")[0]
        stand_in = ModuleType(framework)
        vars(stand_in).update(names)
        monkeypatch.setitem(sys.modules, framework, stand_in if names else None)
        if framework != top:
            monkeypatch.setitem(sys.modules, top, ModuleType(top) if names else None)
        path = Path(osler.adapters.__file__ or "").with_name(f"{adapter}.py")
        spec = importlib.util.spec_from_file_location(f"{adapter}_over_a_stand_in", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
