"""What the tests of known sets share: what `osler init` writes for one, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from osler.config import Config, load_config
from osler.data.load import load_data
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.init import write_config


@pytest.fixture
def by_init(tmp_path: Path) -> Callable[[Path], tuple[str, Config, Samples]]:
    """Text, configuration and samples of a proposal, held to read the same with the classes and the task written out."""

    def read(source: Path) -> tuple[str, Config, Samples]:
        path = write_config(source, tmp_path / "proposed.yaml")
        config = load_config(path)
        samples = load_source(config.data)
        listed = samples.listed or samples.classes
        again = load_source(config.data.model_copy(update={"classes": listed, "task": samples.task, "path": source.absolute()}))
        assert (again.classes, again.task, again.negative) == (samples.classes, samples.task, samples.negative)
        np.testing.assert_array_equal(again.targets, samples.targets)
        np.testing.assert_array_equal(again.ids, samples.ids)
        load_data(config.data)  # divides, and has all that training needs
        return path.read_text(encoding="utf-8"), config, samples

    return read
