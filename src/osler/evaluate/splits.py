"""Which splits the figures of an evaluation are fit to speak for the model."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["held_out", "main_split"]


def held_out(split: str) -> bool:
    """Whether nothing of the model was fitted to, or chosen on, a split of this name."""
    return split not in ("train", "val")


def main_split(splits: Iterable[str]) -> str:
    """The split that the headlines are about: the first that is held out, else the first.

    >>> main_split(["val", "test"]), main_split(["val"])
    ('test', 'val')
    """
    names = list(splits)
    return next((name for name in names if held_out(name)), names[0])
