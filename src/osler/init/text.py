"""How a configuration is written: one line a key, with the reason behind it."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["one_line", "yaml", "yaml_line"]

WIDTH = 125


def yaml_line(key: str, value: Any, comment: str = "") -> str:
    """A line of YAML with its comment behind it, or above it where both would be too long for a screen."""
    line, said = f"  {key}: {yaml(value)}", f"  # {one_line(comment)}"
    if not comment:
        return line
    return f"{line}{said}" if len(line + said) <= WIDTH else f"{said}\n{line}"


def yaml(value: Any) -> str:
    """A value as YAML on one line; texts that could be read as something else are quoted.

    >>> yaml(["no", "mass", 1e-4, None])
    '["no", mass, 0.0001, null]'
    """
    if isinstance(value, list):
        return f"[{', '.join(yaml(item) for item in value)}]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][\w./\- ]*(?<! )", value):
        words = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
        return json.dumps(value) if value.lower() in words or value in (".", "..") else value
    return json.dumps(value, ensure_ascii=False)


def one_line(text: object) -> str:
    return " ".join(str(text).split())
