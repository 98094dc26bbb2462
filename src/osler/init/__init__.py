"""From data to a commented configuration: what was found, what follows from it, and why."""

from __future__ import annotations

from osler.init.write import suggest, write_config

__all__ = ["suggest", "write_config"]
