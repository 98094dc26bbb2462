"""The error tree, and `lookup`, which answers a wrong name with the nearest right one.

    OslerError
    ├── ConfigError     a configuration that cannot be used as it stands
    ├── DataError       images, tables or labels that cannot be read or make no sense
    ├── RunError        a run folder that is missing, damaged, or of another configuration
    ├── ModelError      an architecture, weights or a device that cannot be used
    └── RequestError    a call that asks for what is not there

Everything a user can cause is one of these; the command line prints the message and exits with 2, without a traceback. A
message says where, what was seen, what is allowed, and what to do. `assert` is kept for our own mistakes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["ConfigError", "DataError", "ModelError", "OslerError", "RequestError", "RunError", "lookup", "nearest"]

T = TypeVar("T")


class OslerError(Exception):
    """Base of every error that a user can cause."""


class ConfigError(OslerError):
    """A configuration that cannot be used as it stands. All of its faults are reported at once."""


class DataError(OslerError):
    """Images, tables or labels that cannot be read or make no sense."""


class RunError(OslerError):
    """A run folder that is missing, damaged, in use, or of another configuration."""


class ModelError(OslerError):
    """An architecture, a weights file or a device that cannot be used."""


class RequestError(OslerError):
    """A call that asks for something that is not there, such as a split that the data do not have."""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice spelled most like `name`, or None when nothing is close.

    >>> nearest("densnet121", ["resnet50", "densenet121"])
    'densenet121'
    """
    options = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name.lower(), options, n=1, cutoff=0.6)
    return options[found[0]] if found else None


def lookup(table: Mapping[str, T], name: str, what: str, error: type[OslerError] = ConfigError, also: str | None = None) -> T:
    """`table[name]`, or an error that lists the choices and the nearest spelling.

    Args:
        table: the choices.
        name: what was asked for.
        what: the name of the thing chosen, as the message should call it ("model.architecture").
        error: the class to raise.
        also: a further sentence for the message, such as another form that is allowed.
    """
    if name in table:
        return table[name]
    guess = nearest(name, table)
    hint = f" Did you mean {guess!r}?" if guess else ""
    more = f" {also}" if also else ""
    raise error(f"{what}: {name!r} is not known.{hint} Choose one of: {', '.join(sorted(table))}.{more}")
