"""Samples without pixels: what is drawn is told by labels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from osler.config import Config, load_config
from osler.data.balance import DrawSettings
from osler.data.load import Data
from osler.data.samples import Samples
from osler.imaging.read import ImageInfo, RawImage

MakeData = Callable[..., tuple[Config, Data]]


class NoImages:
    """Images that nobody may look at."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, row: int) -> RawImage:
        raise AssertionError("no image may be decoded")

    def probe(self, row: int) -> ImageInfo:
        raise AssertionError("no image may be opened")

    def identity(self, row: int) -> str:
        raise AssertionError("no image may be touched")

    def take(self, rows: np.ndarray) -> NoImages:
        return NoImages(len(rows))


@pytest.fixture
def make_data() -> MakeData:
    """make_data(targets, task, classes, data={...}, loss={...}): a configuration and data whose train split is the targets."""

    def make(targets: np.ndarray, task: str, classes: tuple[str, ...], **sections: Any) -> tuple[Config, Data]:
        config = load_config(sections)
        n = len(targets)
        samples = Samples(
            np.array([f"s{row}" for row in range(n)]),
            targets.astype(np.float32),
            classes,
            task,  # type: ignore[arg-type]
            NoImages(n),
        )
        settings = config.data
        drawing = DrawSettings(settings.sampler_reduce, settings.no_finding_weight, settings.sampler_beta)
        return config, Data(samples, {"train": np.arange(n), "val": np.arange(1)}, settings.sampler, (), drawing)

    return make
