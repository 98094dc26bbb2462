"""How each fault of `faults.py` is put into a run, mild and severe: by the configuration where that can, else by tampering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mask_tampering import (
    dice_with_background,
    empty_masks,
    erased_lesions,
    flipped_images,
    inverted_masks,
    shifted_masks,
    shuffled_masks,
    unscaled_targets,
)
from sabotage import (
    accumulated_gradients,
    broken_statistics,
    cut_features,
    late_jump,
    other_weight,
    output_bias,
    output_through,
    short_schedule,
    still_optimizer,
)
from tampering import (
    changed_images,
    changed_labels,
    declared,
    draw_by,
    first_validation,
    flipped,
    inverted,
    leaked,
    lost,
    nan_from,
    repeated_draws,
    scaled_images,
    shifted,
    shuffled,
    sorted_order,
    starving,
)
from training import Run

from osler.config import merge
from tasks import Task, draw_pool

__all__ = ["RECIPES", "Make", "both"]

Make = Callable[[Task], Run]


def config(**sections: Any) -> Make:
    """A run with these sections over the task's."""
    return lambda task: Run(sections)


def training(**values: Any) -> Make:
    """A run with these values in `training`."""
    return config(training=values)


def rate(factor: float) -> Make:
    """A run at so many times the task's learning rate."""
    return lambda task: Run({"training": {"learning_rate": factor * task.config.training.learning_rate}})


def weight(factor: float, inverse: bool = False) -> Make:
    """A run with a positive weight of so many times negatives / positives, or of positives / negatives, and no sampler."""

    def make(task: Task) -> Run:
        values = [factor * (share / (1 - share) if inverse else (1 - share) / share) for share in prevalences(task)]
        return Run({"loss": {"pos_weight": values}, "data": {"sampler": "none"}})

    return make


def focal(**values: float) -> Make:
    """A run with a focal loss, and no sampler."""
    return config(loss={"type": "focal", **values}, data={"sampler": "none"})


def loss(type: str, **values: Any) -> Make:
    """A run with this loss."""
    return config(loss={"type": type, **values})


def before(*tampers: Any, **sections: Any) -> Make:
    """A run tampered with before it is built."""
    return lambda task: Run(sections, before=tampers)


def after(*tampers: Any, **sections: Any) -> Make:
    """A run tampered with behind its back."""
    return lambda task: Run(sections, after=tampers)


def prevalences(task: Task) -> list[float]:
    """Of each finding of the task."""
    phantom = task.config.data.phantom
    shares = phantom.prevalence
    return list(shares) if isinstance(shares, tuple) else [shares] * len(phantom.findings)


def tiny_batches(size: int) -> Make:
    """A run with batches of so few samples; of fewer epochs where these would be too many steps."""

    def make(task: Task) -> Run:
        epochs = round(MOST_STEPS * size / (task.samples * 2 / 3))
        return Run({"training": {"batch_size": size, "epochs": min(task.config.training.epochs, max(3, epochs))}})

    return make


def few_samples(samples: int, epochs: int) -> Make:
    """A run on few samples, long enough to learn them by heart; validation stays as large as it was."""

    def make(task: Task) -> Run:
        ratio = [samples, task.samples / 3, task.samples / 3 * 2 - samples]
        sections = {
            "augmentation": None,
            "model": {} if task.kind == "segmentation" else {"dropout": 0.0},
            "training": {"epochs": epochs, "weight_decay": 0.0, "early_stopping": None},
            "data": {"split": {"ratio": ratio}},
        }
        return Run(sections)

    return make


def mask_weight(factor: float, inverse: bool = False) -> Make:
    """A run with BCE whose weight of foreground is so many times background / foreground, or foreground / background."""

    def make(task: Task) -> Run:
        pool = draw_pool(task)
        shares = pool.masks[pool.drawn].mean(axis=(0, 2, 3)).tolist()
        values = [factor * (share / (1 - share) if inverse else (1 - share) / share) for share in shares]
        return Run({"loss": {"type": "bce", "pos_weight": values, "pos_weight_cap": 1e6}})

    return make


def by_answer(labels: Make, masks: Make) -> Make:
    """A run as tasks with labels make it, and as those with masks do."""
    return lambda task: (masks if task.kind == "segmentation" else labels)(task)


def both(first: Make, second: Make) -> Make:
    """Two faults in one run."""

    def make(task: Task) -> Run:
        one, other = first(task), second(task)
        return Run(
            merge(one.sections, other.sections),
            one.samples or other.samples,
            (*one.before, *other.before),
            (*one.after, *other.after),
        )

    return make


def levels(mild: Make, severe: Make) -> dict[str, Make]:
    return {"mild": mild, "severe": severe}


MOST_STEPS = 2400
BALANCED = {"sampler": "balanced"}
WILD = {"shift": 0.3, "zoom": 0.5, "brightness": 0.5, "contrast": 0.8, "noise": 0.2, "rotation": 60}
WILDEST = {"shift": 0.5, "zoom": 0.9, "brightness": 1.0, "contrast": 0.95, "noise": 0.6, "rotation": 180, "vertical_flip": 0.5}

RECIPES: dict[str, Mapping[str, Make]] = {
    "lr_high": levels(rate(30), rate(1000)),
    "lr_low": levels(rate(0.01), rate(0.0001)),
    "warmup": levels(training(warmup_epochs=7.0), training(warmup_epochs=11.5)),
    "schedule_short": levels(before(short_schedule(0.25)), before(short_schedule(0.08))),
    "rate_jump": levels(after(late_jump(100, 0.6)), after(late_jump(3000, 0.6))),
    "few_epochs": levels(training(epochs=4), training(epochs=2)),
    "stopped_early": levels(training(early_stopping=1, min_delta=0.03), training(early_stopping=1, min_delta=0.3)),
    "zero_grad": levels(after(accumulated_gradients(0.9)), after(accumulated_gradients(1.0), training={"clip_norm": None})),
    "explosion": levels(
        training(optimizer="sgd", learning_rate=3.0, clip_norm=None),
        training(optimizer="sgd", learning_rate=100.0, clip_norm=None),
    ),
    "weight_high": levels(weight(10), weight(100)),
    "weight_inverted": levels(weight(1, inverse=True), weight(0.1, inverse=True)),
    "weight_unapplied": levels(
        lambda task: Run(weight(1)(task).sections, after=(other_weight(0.25),)),
        lambda task: Run(weight(3)(task).sections, after=(other_weight(1 / 30),)),
    ),
    "double_correction": levels(
        lambda task: Run({**weight(1)(task).sections, "data": {"sampler": "balanced"}}),
        lambda task: Run({**weight(3)(task).sections, "data": {"sampler": "balanced"}}),
    ),
    "focal_alpha": levels(focal(alpha=0.25), focal(alpha=0.02)),
    "focal_gamma": levels(focal(gamma=10.0), focal(gamma=40.0)),
    "bias_wrong": levels(after(output_bias(4.0)), after(output_bias(12.0))),
    "labels_shuffled": levels(
        before(changed_labels(shuffled(0.6), "train", "val")),
        before(changed_labels(shuffled(1.0), "train", "val")),
    ),
    "labels_noisy": levels(before(changed_labels(flipped(0.2), "train")), before(changed_labels(flipped(0.4), "train"))),
    "val_inverted": levels(before(changed_labels(inverted(0.8), "val")), before(changed_labels(inverted(1.0), "val"))),
    "positives_lost": levels(after(lost(0.8)), after(lost(1.0))),
    "val_prepared": levels(
        before(changed_images(scaled_images(0.5), "val")),
        before(changed_images(scaled_images(-1.0, 255.0), "val")),
    ),
    "pixels_scaled": levels(
        before(changed_images(scaled_images(1 / 64), "train", "val")),
        before(changed_images(scaled_images(1 / 255), "train", "val")),
    ),
    "pixels_dead": levels(
        before(changed_images(scaled_images(6.0, 40.0), "train", "val")),
        before(changed_images(scaled_images(0.0), "train", "val")),
    ),
    "pixels_nan": levels(after(nan_from(5)), after(nan_from(2))),
    "leak": levels(before(leaked(0.5)), before(leaked(1.0))),
    "split_shifted": levels(before(shifted(2.5)), before(shifted(8.0))),
    "val_tiny": levels(before(first_validation(24)), before(first_validation(8))),
    "declared_other": levels(before(declared(1.6)), before(declared(2.5))),
    "sampler_starves": levels(before(draw_by(starving(0.9)), data=BALANCED), before(draw_by(starving(0.99)), data=BALANCED)),
    "sampler_few": levels(before(repeated_draws(24), data=BALANCED), before(repeated_draws(8), data=BALANCED)),
    "order_sorted": levels(after(sorted_order(4)), after(sorted_order(1))),
    "batch_tiny": levels(tiny_batches(4), tiny_batches(2)),
    "frozen": levels(training(phases=[{"train": "head"}]), after(still_optimizer)),
    "head_cut": levels(after(cut_features(False)), after(cut_features(True))),
    "activation_twice": levels(after(output_through(1)), after(output_through(2))),
    "statistics_stale": levels(after(broken_statistics(0.003)), after(broken_statistics(0.0))),
    "overfit": levels(by_answer(few_samples(60, 40), few_samples(16, 40)), by_answer(few_samples(24, 40), few_samples(6, 40))),
    "augmented_away": levels(config(augmentation=WILD), config(augmentation=WILDEST)),
    "decay_strong": levels(training(weight_decay=10.0), training(weight_decay=100.0)),
    "tversky_low": levels(loss("tversky", tversky_beta=0.15), loss("tversky", tversky_beta=0.03)),
    "tversky_high": levels(loss("tversky", tversky_beta=0.95), loss("tversky", tversky_beta=0.99)),
    "dice_alone": levels(loss("dice", pooled="case"), loss("dice", pooled="case", smooth=0.0)),
    "pixels_alone": levels(loss("combined", weights={"bce": 0.9, "dice": 0.1}), loss("bce")),
    "mask_weight_high": levels(mask_weight(1), mask_weight(30)),
    "mask_weight_inverted": levels(mask_weight(10, inverse=True), mask_weight(1, inverse=True)),
    "alpha_low": levels(loss("focal", alpha=0.1), loss("focal", alpha=0.01)),
    "masks_lost": levels(after(empty_masks(0.8)), after(empty_masks(1.0))),
    "masks_unscaled": levels(after(unscaled_targets(4.0)), after(unscaled_targets(255.0))),
    "masks_misaligned": levels(after(flipped_images(0.5)), after(shifted_masks(0.25))),
    "masks_shuffled": levels(before(shuffled_masks(0.6)), before(shuffled_masks(1.0))),
    "masks_inverted": levels(before(inverted_masks(0.3)), before(inverted_masks(1.0))),
    "empty_drawn": levels(before(draw_by(starving(0.9)), data=BALANCED), before(draw_by(starving(0.99)), data=BALANCED)),
    "lesions_erased": levels(before(erased_lesions(0.5)), before(erased_lesions(0.9))),
    "dice_of_background": levels(after(dice_with_background(False)), after(dice_with_background(True))),
}
"""By the id of the fault."""
