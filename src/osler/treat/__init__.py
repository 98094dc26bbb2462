"""Treatment: a prescription is applied, and proved against a plain re-run on the same patients, or disproved."""

from __future__ import annotations

from osler.treat.command import Treatment, treat_run

__all__ = ["Treatment", "treat_run"]
