"""How sources word what they found: counts, the first few of many, and several faults in one error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from osler.errors import DataError, nearest

__all__ = ["count", "raise_faults", "require_path", "some"]


def some(values: Iterable[object], limit: int = 5) -> str:
    """The first few of many values, and how many there are.

    >>> some(["a", "b", "c"], limit=2)
    'a, b, ... (3 in all)'
    >>> some(["a", "b"])
    'a, b'
    """
    texts = [str(value) for value in values]
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])}, ... ({len(texts):,} in all)"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(1200, "row"), count(2, "class", "classes")
    ('1 row', '1,200 rows', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def raise_faults(where: object, faults: Sequence[str], hint: str = "") -> None:
    """Raises one DataError that lists every fault, and then the hint; does nothing where there is no fault."""
    if len(faults) == 1:
        raise DataError(f"{where}: {faults[0]}.{f' {hint}' if hint else ''}")
    if faults:
        lines = [f"{where}: {len(faults)} faults:", *(f"  {fault}" for fault in faults), *([hint] if hint else [])]
        raise DataError("\n".join(lines))


def require_path(path: Path, key: str) -> Path:
    """`path`, or a DataError that says how far it exists and which neighbour is spelled most like it.

    Args:
        path: a file or folder.
        key: the dotted config key that named it.
    """
    if path.exists():
        return path
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0]
    guess = nearest(wanted, (entry.name for entry in parent.iterdir())) if parent.is_dir() else None
    hint = f" Did you mean {parent / guess}?" if guess else f" {parent.absolute()} exists, but has no {wanted!r}."
    raise DataError(f"{key}: {path} does not exist.{hint} Relative paths start at the working directory, {Path.cwd()}.")
