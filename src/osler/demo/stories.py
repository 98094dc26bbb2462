"""The stories: configurations in small of runs that real projects recorded, and what was seen in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osler.config import merge

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


_LESIONS: dict[str, Any] = {
    "run": {"name": "demo_segmentation"},
    "data": {
        "source": "phantom",
        "task": "segmentation",
        "phantom": {
            "samples": 500,
            "size": 64,
            "findings": ["nodule"],
            "prevalence": 0.7,
            "lesion_area": [0.003, 0.02],
            "difficulty": 0.2,
        },
        "split": {"ratio": [0.5, 0.35, 0.15]},
    },
    "model": {"architecture": "compact", "width": 8},
}

STORIES: dict[str, tuple[Story, ...]] = {
    "classification": (
        Story(
            "A classifier that says the same of every patient",
            "A project trained a ResNet-50 to find cancer on 10,000 images for seven hours. The loss stood still at 1.26, the "
            "AUC was 0.50, and the accuracy swung between 10 % and 90 %: in some epochs every patient was called ill, in "
            "others none. Its own cure was another weight for the positives. But a loss of 1.26 is that of a probability of "
            "one half under a weight of 9.07, which was in force already, and right. Here the same weight and the same "
            "prevalence, 10 %, meet 1,000 synthetic radiographs, and a learning rate that is a hundred times too high.",
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
    "segmentation": (
        Story(
            "A segmenter that misses most lesions",
            "A lesion segmenter stayed at Dice 0.06 to 0.10. Its Tversky loss weighed a missed pixel with 0.3 and a false one "
            "with 0.7, its learning rate was 0.0002 at most, and ten epochs of warm-up led there. Here the same loss and the "
            "same rate meet nodules that cover 0.3 to 2 % of a synthetic radiograph, in a plan of eight epochs.",
            merge(
                _LESIONS,
                {
                    "loss": {"type": "enhanced", "tversky_beta": 0.3},
                    "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.0002, "warmup_epochs": 6},
                },
            ),
        ),
        Story(
            "A segmenter whose loss fell to zero",
            "A loss of 0.42 in the first epoch and of 0.00 in the second looked like success. Every mask was predicted empty, "
            "and no overlap was logged, so nobody saw it. Here the Dice loss of single images, under a smoothing term so "
            "large that an empty mask costs next to nothing, does the same.",
            merge(
                _LESIONS,
                {
                    "loss": {"type": "dice", "pooled": "case", "smooth": 1e6},
                    "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.002},
                },
            ),
        ),
    ),
}
"""By the kind of task; `osler demo` tells the first kind."""
