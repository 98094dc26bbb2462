"""The task of a configuration: by what its targets are."""

from __future__ import annotations

from collections.abc import Mapping

from osler.config import Config
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.data.masks_prepared import PreparedMasks
from osler.tasks.classification import build_classification
from osler.tasks.segmentation import build_segmentation
from osler.tasks.task import Task

__all__ = ["build_task"]


def build_task(config: Config, data: Data, cache: PackedCache, masks: Mapping[str, PreparedMasks]) -> Task:
    """The task of a resolved configuration over these data; its output starts at the best constant prediction.

    Args:
        config: resolved.
        data: whose train split the loss's weights come from.
        cache: the prepared images and masks.
        masks: of each split, as they were prepared; empty where there are none.
    """
    if data.source.task == "segmentation":
        return build_segmentation(config, data, cache, masks)
    return build_classification(config, data)
