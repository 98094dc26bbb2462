"""Sources: where samples come from. A source finds images and labels, and looks at no pixel but those of masks."""

from __future__ import annotations

from collections.abc import Callable

from osler.config import DataConfig
from osler.data.arrays import array_samples
from osler.data.folder import folder_samples
from osler.data.known import KNOWN
from osler.data.masks import mask_samples
from osler.data.masks_table import csv_samples
from osler.data.phantom import phantom_samples
from osler.data.samples import Samples
from osler.errors import lookup

__all__ = ["SOURCES", "load_source"]

SOURCES: dict[str, Callable[[DataConfig], Samples]] = {
    "phantom": phantom_samples,
    "folder": folder_samples,
    "csv": csv_samples,
    "npz": array_samples,
    "masks": mask_samples,
    **{name: known.read for name, known in KNOWN.items()},
}


def load_source(config: DataConfig) -> Samples:
    """The samples of the configured source, in a stable order; what was adapted or assumed stands in their notes.

    Raises:
        DataError: the source does not exist or makes no sense; all faults found are reported together.
    """
    return lookup(SOURCES, config.source, "data.source")(config)
