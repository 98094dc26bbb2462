"""Settings of other programs (hparams.yaml, args.yaml, a config in the log) taken for facts, as far as their names are plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from osler.doctor.facts import Facts, facts_from_file, read_settings
from osler.doctor.readers.audited import audit_beside
from osler.errors import ConfigError

__all__ = ["FOREIGN_NAMES", "facts_beside", "facts_of_settings", "own_facts_beside"]

# What a setting is called elsewhere, in lower case with words joined by "_" → the fact.
FOREIGN_NAMES: dict[str, str] = {
    "lr": "training.learning_rate", "lr0": "training.learning_rate", "learning_rate": "training.learning_rate",
    "base_lr": "training.learning_rate", "initial_lr": "training.learning_rate", "init_lr": "training.learning_rate",
    "initial_learning_rate": "training.learning_rate", "max_lr": "training.learning_rate",
    "batch_size": "training.batch_size", "batch": "training.batch_size", "bs": "training.batch_size",
    "train_batch_size": "training.batch_size", "per_device_train_batch_size": "training.batch_size",
    "epochs": "training.epochs", "max_epochs": "training.epochs", "num_epochs": "training.epochs",
    "n_epochs": "training.epochs", "num_train_epochs": "training.epochs", "total_epochs": "training.epochs",
    "number_of_epochs": "training.epochs",
    "optimizer": "training.optimizer", "optimiser": "training.optimizer", "optim": "training.optimizer",
    "optimizer_name": "training.optimizer",
    "weight_decay": "training.weight_decay", "wd": "training.weight_decay", "momentum": "training.momentum",
    "scheduler": "training.schedule", "lr_scheduler": "training.schedule", "lr_scheduler_type": "training.schedule",
    "schedule": "training.schedule", "lr_schedule": "training.schedule",
    "warmup_epochs": "training.warmup_epochs", "warmup_steps": "training.warmup_steps",
    "patience": "training.early_stopping", "early_stopping_patience": "training.early_stopping",
    "early_stopping": "training.early_stopping",
    "clip_norm": "training.clip_norm", "max_grad_norm": "training.clip_norm", "gradient_clip_val": "training.clip_norm",
    "grad_clip": "training.clip_norm", "clip_grad_norm": "training.clip_norm",
    "gradient_accumulation_steps": "training.accumulate", "accumulate_grad_batches": "training.accumulate",
    "seed": "training.seed", "monitor": "training.monitor",
    "pos_weight": "loss.pos_weight", "class_weights": "loss.class_weights", "class_weight": "loss.class_weights",
    "focal_alpha": "loss.alpha", "focal_gamma": "loss.gamma", "label_smoothing": "loss.label_smoothing",
    "tversky_alpha": "loss.tversky_alpha", "tversky_beta": "loss.tversky_beta",
    "loss": "loss.type", "loss_type": "loss.type", "loss_function": "loss.type", "loss_fn": "loss.type",
    "loss_name": "loss.type", "criterion": "loss.type",
    "architecture": "model.architecture", "arch": "model.architecture", "backbone": "model.architecture",
    "model_name": "model.architecture", "pretrained": "model.pretrained", "dropout": "model.dropout",
    "sampler": "data.sampler",
    "prevalence": "prevalence.set", "train_samples": "samples.train", "training_samples": "samples.train",
    "n_train": "samples.train", "num_train": "samples.train", "train_size": "samples.train",
    "number_of_training_samples": "samples.train", "train_images": "samples.train", "training_images": "samples.train",
    "val_samples": "samples.val", "validation_samples": "samples.val", "n_val": "samples.val", "num_val": "samples.val",
    "val_size": "samples.val", "validation_images": "samples.val", "val_images": "samples.val",
    "test_samples": "samples.test", "n_test": "samples.test", "num_test": "samples.test", "test_size": "samples.test",
    "classes": "classes", "class_names": "classes", "num_classes": "classes", "n_classes": "classes",
}  # fmt: skip

# Beside a log: Osler's own name first, whose keys must be known; then what other programs write.
OWN_FILES = ("facts.yaml", "facts.yml", "facts.json", "facts.ini")
FOREIGN_FILES = (
    "hparams.yaml",
    "args.yaml",
    "config.yaml",
    "config.json",
    "params.json",
    "args.json",
    "opts.yaml",
    "hparams.json",
)
MOST_SETTINGS = 5_000
DEEPEST = 6


def facts_of_settings(settings: Mapping[str, Any], source: str) -> Facts:
    """The facts among another program's settings; a name is taken once, the outermost first, and each is marked assumed.

    >>> facts_of_settings({"train": {"lr": 1e-3}, "batch_size": "32"}, "hparams.yaml")["training.batch_size"]
    32
    """
    found: dict[str, Any] = {}
    leaves = sorted(islice(_leaves(settings, 0), MOST_SETTINGS), key=lambda leaf: leaf[0])
    for _, name, value in leaves:
        key = FOREIGN_NAMES.get(name.lower().replace(" ", "_").replace("-", "_"))
        # A share of the set is no number of samples, and a list of losses no loss.
        odd = isinstance(value, (list, tuple, dict)) and key not in (
            "classes",
            "loss.pos_weight",
            "loss.class_weights",
            "loss.alpha",
        )
        if key is not None and key not in found and value is not None and not odd:
            found[key] = value
    return Facts.of(found, source, strict=False, assumed=True)


def _leaves(settings: Mapping[str, Any], depth: int) -> Iterator[tuple[int, str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and depth < DEEPEST:
            yield from _leaves(value, depth + 1)
        yield depth, str(name), value


def facts_beside(folder: Path) -> Facts:
    """Facts from the files that lie in a folder, an audit's among them; Osler's own win over those of other programs.

    Raises:
        ConfigError: a facts.yaml is there and cannot be used.
    """
    facts = Facts()
    for name in FOREIGN_FILES:
        path = folder / name
        if path.is_file():
            try:
                facts = facts_of_settings(read_settings(path), name).over(facts)
            except ConfigError:
                continue  # another program's file is none of the user's faults
    return facts.over(audit_beside(folder)[0]).over(own_facts_beside(folder))


def own_facts_beside(folder: Path, but: str = "") -> Facts:
    """Facts from the facts.yaml, or the like, that a user put into a folder.

    Args:
        folder: of the log.
        but: a name to leave out.

    Raises:
        ConfigError: it cannot be used.
    """
    facts = Facts()
    for name in OWN_FILES:
        if name != but and (folder / name).is_file():
            facts = facts.over(facts_from_file(folder / name))
    return facts
