"""What the owner of a loop states of it: facts under the configuration's keys, and the loss, by name or as the loop's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from osler.adapters.arrays import on_host
from osler.doctor.facts import Facts
from osler.errors import ConfigError, nearest

if TYPE_CHECKING:
    from osler.config import LossConfig

__all__ = ["CRITERIA", "TASKS", "Statement", "read_criterion", "state"]

TASKS = {"binary": "binary", "multilabel": "multilabel", "multiclass": "multiclass", "segmentation": "segmentation"}

CRITERIA: dict[str, tuple[str, dict[str, str], bool]] = {
    "BCEWithLogitsLoss": ("bce", {"pos_weight": "pos_weight"}, False),
    "BCELoss": ("bce", {}, True),
    "CrossEntropyLoss": ("cross_entropy", {"weight": "class_weights", "label_smoothing": "label_smoothing"}, False),
    "BinaryCrossentropy": ("bce", {"label_smoothing": "label_smoothing"}, True),
    "CategoricalCrossentropy": ("cross_entropy", {"label_smoothing": "label_smoothing"}, True),
    "SparseCategoricalCrossentropy": ("cross_entropy", {}, True),
}
"""Class of a loss in torch or Keras → Osler's name, its attributes under Osler's keys, and whether it takes probabilities."""
KERAS_NAMES = {
    "binary_crossentropy": "BinaryCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
}
DERIVED = ("pos_weight", "class_weights", "alpha")
# What these losses read and the doctor asks for; said though it is the default.
READS = {
    "focal": ("gamma",),
    "tversky": ("tversky_beta",),
    "focal_tversky": ("tversky_beta", "tversky_gamma"),
    "combined": ("gamma",),
    "enhanced": ("gamma", "tversky_beta"),
}


@dataclass(frozen=True)
class Statement:
    """What is stated of a loop.

    Attributes:
        facts: under the configuration's keys.
        loss: the loss with its parameters; None where Osler does not know it.
        no_floor: why there is no floor, where there is none.
    """

    facts: Facts
    loss: LossConfig | None
    no_floor: str = ""


def read_criterion(criterion: Any) -> tuple[dict[str, Any], bool | None]:
    """The settings of a loss object, and whether it takes probabilities; None where that is not known.

    Of a loss that Osler does not know, the type is its own name and nothing else is said.

    >>> read_criterion(type("CrossEntropyLoss", (), {"weight": None, "label_smoothing": 0.1})())
    ({'type': 'cross_entropy', 'label_smoothing': 0.1}, False)
    """
    name = criterion if isinstance(criterion, str) else type(criterion).__name__
    name = KERAS_NAMES.get(name, name)
    if name not in CRITERIA:
        return {"type": name}, None
    kind, attributes, probabilities = CRITERIA[name]
    if getattr(criterion, "from_logits", False):
        probabilities = False
    settings: dict[str, Any] = {"type": kind}
    for attribute, key in attributes.items():
        value = getattr(criterion, attribute, None)
        if value is not None and not (key == "label_smoothing" and value == 0):
            settings[key] = _plain(value)
    reduction = getattr(criterion, "reduction", "mean")
    if kind == "bce" and getattr(criterion, "weight", None) is not None:
        settings["type"] = f"{name} with a weight by cell"
    if reduction not in ("mean", "none", "sum_over_batch_size"):
        settings["reduction"] = str(reduction)
    return settings, probabilities


def _plain(value: Any) -> Any:
    numbers = on_host(value).tolist()
    return tuple(numbers) if isinstance(numbers, list) else numbers


def state(task: str, classes: tuple[str, ...] | None, loss: Any, sections: Mapping[str, Any]) -> Statement:
    """What is stated, checked as a configuration is.

    Args:
        task: one of `TASKS`.
        classes: names, or None.
        loss: settings of the section `loss`, a loss of torch or Keras, or None where it is not stated.
        sections: of the configuration, as far as stated, and dotted facts.

    Raises:
        ConfigError: unknown keys, values of the wrong kind, or a loss that does not fit the task.
    """
    settings = {} if loss is None else dict(loss) if isinstance(loss, Mapping) else read_criterion(loss)[0]
    told: dict[str, Any] = {"task": task, **{key: value for key, value in sections.items() if value is not None}}
    if classes:
        told["classes"] = classes
    Facts.of({**told, "loss": settings}, "osler.watch")  # unknown keys, before the loss is looked into
    config, reason = _loss_config(task, settings)
    if config is not None:
        settings = {key: getattr(config, key) for key in ("type", *READS.get(config.type, ()))} | settings
    return Statement(Facts.of({**told, "loss": settings}, "osler.watch"), config, reason)


def _loss_config(task: str, settings: Mapping[str, Any]) -> tuple[LossConfig | None, str]:
    from osler.config import load_config
    from osler.config.model import LossName

    if not settings:
        return None, "the loss is not stated: watch(..., loss={...})"
    derived = [key for key in DERIVED if settings.get(key) == "auto"]
    if derived:
        raise ConfigError(
            f"osler.watch: loss.{derived[0]}: 'auto' is worked out in Osler's own loop; state the number that is in force"
        )
    name = str(settings.get("type", "auto"))
    known = ("auto", *get_args(LossName))
    if name not in known:
        guess = nearest(name, known)
        if guess is not None:
            raise ConfigError(f"osler.watch: loss.type: {name!r} is not known. Did you mean {guess!r}?")
        return None, f"the best constant under the loss {name!r} is not known"
    if settings.get("reduction", "mean") != "mean":
        return None, f"the loss is a {settings['reduction']}, not a mean, so that it depends on the size of a batch"
    if name == "cross_entropy" and settings.get("class_weights") and settings.get("label_smoothing"):
        return None, "class weights and label smoothing together are defined otherwise in torch"
    # A softmax of two logits is a binary output too; its loss is one over two classes.
    checked = "multiclass" if task == "binary" and name == "cross_entropy" else task
    values = {key: value for key, value in settings.items() if key != "reduction"}
    return load_config({"loss": values, "data": {"task": checked}}).loss, ""
