"""The stories: configurations in small of runs that real projects recorded, and what was seen in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["STORIES", "Story"]


@dataclass(frozen=True)
class Story:
    """A run that went wrong.

    Attributes:
        title: of its part of the page.
        told: what happened in the run that it is made after, and what is kept of it here.
        config: the sick configuration.
        minutes: for its treatment.
    """

    title: str
    told: str
    config: Mapping[str, Any]
    minutes: float = 6.0


STORIES: dict[str, tuple[Story, ...]] = {
    "classification": (
        Story(
            "A classifier that says the same of every patient",
            "A project trained a ResNet-50 to find cancer on 10,000 images for seven hours. The loss stood still at 1.26, the "
            "AUC was 0.50, and the accuracy swung between 10 % and 90 %: in some epochs every patient was called ill, in others "
            "none. Its own cure was another weight for the positives. But a loss of 1.26 is that of a probability of one half "
            "under a weight of 9.07, which was in force already, and right. Here the same weight and the same prevalence, 10 %, "
            "meet 1,000 synthetic radiographs, and a learning rate that is a hundred times too high.",
            {
                "run": {"name": "demo"},
                "data": {
                    "source": "phantom",
                    "phantom": {
                        "samples": 1000,
                        "size": 64,
                        "findings": ["effusion"],
                        "prevalence": 0.1013,
                        "difficulty": 0.3,
                    },
                    "split": {"ratio": [0.5, 0.35, 0.15]},
                },
                "model": {"architecture": "efficientnet_lite0", "pretrained": "embedded"},
                "loss": {"type": "bce", "pos_weight": 9.07},
                "training": {"epochs": 5, "batch_size": 32, "learning_rate": 0.1, "schedule": "cosine"},
            },
        ),
    ),
}
"""By the kind of task; `osler demo` tells the first kind."""
