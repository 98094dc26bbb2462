"""Osler trains medical-image models that learn, and says why when one does not. For research; not a medical device.

import osler

config = osler.load_config("config.yaml", ["training.epochs=20"])
run = osler.train_run(config)
evaluation = osler.evaluate_run(run.path)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are imported when first used: reading a run must not wait for torch.
_HOMES = {
    "Card": "osler.runs.card",
    "Config": "osler.config",
    "ConfigError": "osler.errors",
    "DataError": "osler.errors",
    "ModelError": "osler.errors",
    "OslerError": "osler.errors",
    "Predictor": "osler.predict",
    "RequestError": "osler.errors",
    "RunError": "osler.errors",
    "RunFolder": "osler.runs.folder",
    "check_loop": "osler.checkup",
    "checkup_config": "osler.checkup",
    "evaluate_run": "osler.evaluate",
    "load_config": "osler.config",
    "load_predictor": "osler.train.inference",
    "read_vitals": "osler.runs.vitals",
    "resume_run": "osler.train.fit",
    "train_run": "osler.train.fit",
    "treat_run": "osler.treat",
    "watch": "osler.adapters.watch",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
