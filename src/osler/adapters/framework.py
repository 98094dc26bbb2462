"""The base class of a framework's callbacks where the framework is installed; else a class that says what is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from osler.errors import ModelError

__all__ = ["base_class"]


def base_class(module: str, name: str, package: str) -> type[Any]:
    """`module.name`; where the module cannot be imported, a class whose making raises the error that names the package.

    Args:
        module: of the framework.
        name: of its base class for callbacks.
        package: as it is installed.

    >>> base_class("no_such_framework", "Callback", "no-such-framework")()
    Traceback (most recent call last):
    ...
    osler.errors.ModelError: this callback needs the package no-such-framework, which cannot be imported (No module named \
'no_such_framework'). Install it: pip install no-such-framework
    """
    try:
        found: type[Any] = getattr(import_module(module), name)
    except ImportError as error:
        why = str(error)
    else:
        return found

    class Missing:
        """Stands for a base class whose framework is not there."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Missing:
            raise ModelError(
                f"this callback needs the package {package}, which cannot be imported ({why}). Install it: pip install {package}"
            )

    return Missing
