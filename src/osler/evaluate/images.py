"""The images of a run's cases, as they were prepared for training, for the pictures of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osler.errors import DataError
from osler.runs.folder import RunFolder

__all__ = ["ReadCases", "read_cases"]

Pixels = NDArray[np.uint8]
ReadCases = Callable[[Sequence[str]], list[tuple[Pixels, Pixels]]]
"""Ids to, for each, its image (C, H, W) and its true masks (K, H, W)."""


def read_cases(run: RunFolder, source: Path | None) -> ReadCases:
    """A reader of the cases that were evaluated; nothing is opened before it is called.

    Args:
        run: whose configuration says where images are.
        source: other data than the run's own, or None.

    Returns:
        A reader that raises OslerError where images or masks are gone or cannot be read.
    """

    def read(ids: Sequence[str]) -> list[tuple[Pixels, Pixels]]:
        # Imported here: figures need no images, and a run is evaluated where its data are not.
        from osler.data.cache import cache_folder, open_cache
        from osler.data.elsewhere import load_elsewhere
        from osler.data.sources import load_source
        from osler.imaging.preparation import Preparation

        config = run.config()
        samples = load_source(config.data) if source is None else load_elsewhere(config, source)
        places = {str(name): row for row, name in enumerate(samples.ids)}
        absent = [name for name in ids if name not in places]
        if absent or samples.masks is None:
            raise DataError(f"the data have no mask of {absent[0] if absent else 'any image'} any more")
        cache = open_cache(samples, Preparation(config.preparation), cache_folder(config.data.cache))
        rows = np.array([places[name] for name in ids], dtype=np.intp)
        cache.ensure(rows)
        return list(zip(cache.pictures(rows), cache.masks(rows), strict=True))

    return read
