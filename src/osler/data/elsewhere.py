"""Other data than a run's own, read as the run reads its own: its classes, its task, its values of masks."""

from __future__ import annotations

from pathlib import Path

from osler.config import Config, load_config
from osler.data.samples import Samples
from osler.data.sources import load_source
from osler.errors import RequestError

__all__ = ["load_elsewhere"]


def load_elsewhere(config: Config, source: Path) -> Samples:
    """All samples of another source, with the run's classes and task.

    Args:
        config: of the run.
        source: a config (.yaml) whose data section is used; or data of the run's own kind at another path.

    Raises:
        RequestError: the run's data lie in no file, so that no path can stand in their place.
        DataError: the classes of the other data are not the run's.
    """
    if source.suffix in (".yaml", ".yml"):
        section = load_config(source).data
    elif config.data.source == "phantom":
        raise RequestError(
            f"--data {source}: this run's data are synthetic and lie in no file; give a config (.yaml) with a data section."
        )
    else:
        # What lies elsewhere, images or masks, is of the run's own set: equal names would be taken for equal images.
        masks = config.data.masks.model_copy(update={"path": None})
        changed = {"path": source.absolute(), "image_root": None, "split_column": None, "masks": masks}
        section = config.data.model_copy(update=changed)
    return load_source(section.model_copy(update={"classes": config.data.classes, "task": config.data.task}))
