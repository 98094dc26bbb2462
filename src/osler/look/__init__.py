"""`osler look`: contact sheets of what a model will see, from file to augmented batch, and what stands out among the images."""

from __future__ import annotations

from osler.look.command import Look, look_config

__all__ = ["Look", "look_config"]
