"""Small sets of synthetic films, in a table or in folders, healthy or with what each test puts wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from osler.audit.command import Audit, audit_loaded
from osler.audit.source import load_audited
from osler.config import load_config
from osler.data.load import load_data
from osler.init.sources import draft_of

Table = pd.DataFrame
Change = Callable[[Table, Path], Table]
NUMBER, SIDE = 160, 40


@pytest.fixture(scope="session")
def films() -> np.ndarray:
    """(NUMBER, SIDE, SIDE) films of which no two are alike."""
    phantom = {"samples": NUMBER, "size": 40, "findings": ["effusion"], "prevalence": 0.4, "images_per_patient": 1.0}
    data = load_data(load_config({"data": {"phantom": phantom}}).data)
    return np.stack([data.source.images.read(row).pixels for row in range(NUMBER)])


@pytest.fixture
def make_audit(films: np.ndarray, tmp_path: Path) -> Callable[..., Audit]:
    """make_audit(change): writes the films and a table with labels by chance, lets `change` spoil them, and audits the table."""

    def make(change: Change | None = None, config: Mapping[str, Any] | None = None, films_are_there: bool = False) -> Audit:
        root = tmp_path / "set"
        (root / "images").mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(4)
        table = pd.DataFrame(
            {
                "path": [f"images/{number:03d}.png" for number in range(NUMBER)],
                "patient": [f"P{number // 2:03d}" for number in range(NUMBER)],
                "sick": rng.permutation(np.arange(NUMBER) % 2),
                "split": np.repeat(["train", "val", "test"], [96, 32, 32]),
                "site": rng.choice(["north", "south"], NUMBER),
            }
        )
        for path, film in zip(table["path"], films, strict=True):
            if films_are_there:
                break
            cv2.imwrite(str(root / path), film)
        table = table if change is None else change(table, root)
        table.to_csv(root / "labels.csv", index=False)
        values = {"source": "csv", "path": str(root / "labels.csv"), "classes": ["sick"], "cache": str(tmp_path / "cache")}
        (tmp_path / "audit.yaml").write_text(f"data: {values | dict(config or {})}\n")
        return audit_loaded(load_audited(tmp_path / "audit.yaml", [], draft_of), workers=1)

    return make
