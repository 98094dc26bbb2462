"""`osler balance`: what a sampler and a loss make of the classes, and proof of what is drawn, before anything is trained."""

from __future__ import annotations

from osler.balance.command import Balance, balance_config

__all__ = ["Balance", "balance_config"]
