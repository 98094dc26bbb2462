"""`osler prepare`: every image of a configuration prepared into the cache, by one machine or by many."""

from __future__ import annotations

from osler.prepare.command import Prepared, prepare_config

__all__ = ["Prepared", "prepare_config"]
