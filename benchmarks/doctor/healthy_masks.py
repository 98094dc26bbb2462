"""The healthy arm of tasks that segment: losses, schedules, patches, few images, many empty masks, slow learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mask_tampering import mostly
from training import Run

from tasks import Task

__all__ = ["MASK_CHOICES", "MASK_VARIANTS"]

Sections = Mapping[str, Any]
MILD = {"rotation": 10, "shift": 0.06, "zoom": 0.1, "brightness": 0.1, "contrast": 0.15, "horizontal_flip": 0.5}
NOISY = {**MILD, "noise": 0.04}


def _run(sections: Sections, *before: Any) -> Callable[[Task], Run]:
    return lambda task: Run(sections, before=before)


def _training(**values: Any) -> Callable[[Task], Run]:
    return _run({"training": values})


def _loss(type: str, **values: Any) -> Callable[[Task], Run]:
    return _run({"loss": {"type": type, **values}})


def _rate(factor: float, **values: Any) -> Callable[[Task], Run]:
    return lambda task: Run({"training": {"learning_rate": factor * task.config.training.learning_rate, **values}})


def _longer(sections: Sections, times: float, *before: Any) -> Callable[[Task], Run]:
    """Of so many times the task's epochs: what learns from less takes more of them."""

    def make(task: Task) -> Run:
        epochs = round(times * task.config.training.epochs)
        return Run({**sections, "training": {**sections.get("training", {}), "epochs": epochs}}, before=before)

    return make


def _patches(share: float, foreground: float) -> Callable[[Task], Run]:
    """Patches of a share of the side, in multiples of 8 pixels."""

    def make(task: Task) -> Run:
        side = max(16, 8 * round(share * task.config.data.phantom.size / 8))
        return Run({"data": {"patches": {"size": side, "per_image": 2, "foreground": foreground}}})

    return make


def _small(task: Task) -> Run:
    part, whole = 0.6 * task.samples * 2 / 3, float(task.samples)
    ratio = [part, whole / 3, whole * 2 / 3 - part]
    return Run({"data": {"split": {"ratio": ratio}}, "training": {"epochs": round(1.8 * task.config.training.epochs)}})


def _scheduled(task: Task) -> Run:
    first = task.config.training.epochs // 2
    return Run({"loss": {"schedule": [{"type": "combined", "epochs": first}, {"type": "enhanced"}]}})


MASK_VARIANTS: dict[str, Callable[[Task], Run]] = {
    "plain": _run({}),
    "dice": _loss("dice"),
    "bce_dice": _loss("combined", weights={"bce": 0.5, "dice": 0.5}),
    "enhanced": _loss("enhanced"),
    "focal_tversky": _loss("focal_tversky"),
    "tversky": _loss("tversky"),
    "iou": _loss("iou"),
    "per_case": _loss("combined", pooled="case"),
    "long_bce": lambda task: Run({"loss": {"type": "bce"}, "training": {"epochs": 2 * task.config.training.epochs}}),
    "focal": _longer({"loss": {"type": "focal", "alpha": "auto"}}, 1.5),
    "boundary": _loss("combined", weights={"bce": 0.4, "dice": 0.5, "boundary": 0.1}),
    "loss_schedule": _scheduled,
    "patches": _patches(0.6, 0.5),
    "patches_anywhere": _patches(0.8, 0.0),
    "few_images": _small,
    "many_empty": _longer({}, 1.5, mostly(empty=0.75)),
    "none_empty": _run({}, mostly(empty=0.0)),
    "small_lesions": _longer({}, 1.4, mostly(smallest=0.6)),
    "supervised": _run({"model": {"deep_supervision": True}}),
    "constant": _training(schedule="constant"),
    "one_cycle": _rate(2.0, schedule="one_cycle"),
    "plateau": _training(schedule="plateau", plateau_patience=3),
    "warmup": _training(warmup_epochs=1.0),
    "batch_small": _rate(0.7, batch_size=6),
    "batch_large": _rate(1.5, batch_size=32, epochs=28),
    "slow": _rate(0.3, epochs=26),
    "late_bloomer": _rate(0.2, epochs=34, warmup_epochs=2.0),
    "long": _longer({"training": {"early_stopping": None}}, 2.0),
    "stopped_well": _longer({"training": {"early_stopping": 8}}, 2.5),
    "augmented": _longer({"augmentation": MILD}, 1.4),
    "noise": _longer({"augmentation": NOISY}, 1.4),
    "unaugmented": _run({"augmentation": None}),
    "bias_zero": _run({"model": {"output_bias": "zero"}}),
    "ema": _longer({"training": {"ema": 0.95}}, 1.4),
    "monitor_iou": _training(monitor="iou"),
    "sgd": _training(optimizer="sgd", learning_rate=0.2),
}
"""By name; each over the task's own configuration."""

MASK_CHOICES: dict[str, tuple[Sections, ...]] = {
    "schedule": tuple({"training": {"schedule": name}} for name in ("constant", "cosine", "plateau")),
    "epochs": tuple({"training": {"epochs": count}} for count in (12, 14, 18, 22)),
    "batch": tuple({"training": {"batch_size": size}} for size in (8, 12, 16)),
    "warmup": tuple({"training": {"warmup_epochs": length}} for length in (0.0, 0.0, 0.5, 1.0)),
    "decay": tuple({"training": {"weight_decay": value}} for value in (0.0, 1e-4, 1e-2)),
    "clip": tuple({"training": {"clip_norm": value}} for value in (None, 1.0, 5.0)),
    "augmentation": tuple({"augmentation": value} for value in (None, MILD, NOISY)),
    "bias": tuple({"model": {"output_bias": value}} for value in ("floor", "floor", "zero")),
    "loss": tuple(
        {"loss": values}
        for values in (
            {"type": "combined"},
            {"type": "combined", "weights": {"bce": 0.5, "dice": 0.5}},
            {"type": "combined", "pooled": "case"},
            {"type": "enhanced", "tversky_beta": 0.6},
            {"type": "dice"},
            {"type": "focal_tversky"},
        )
    ),
}
"""What a random variant chooses from, one of each."""
