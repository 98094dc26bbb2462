"""`osler audit`: what is wrong with a set of images before anything is trained on it."""

from __future__ import annotations

from osler.audit.command import Audit, audit_source

__all__ = ["Audit", "audit_source"]
