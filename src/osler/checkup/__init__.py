"""`osler checkup`: active tests of a configuration, or of a loop of one's own, before it is trained."""

from __future__ import annotations

from osler.checkup.command import Checkup, check_loop, checkup_config, pass_quick_checkup

__all__ = ["Checkup", "check_loop", "checkup_config", "pass_quick_checkup"]
