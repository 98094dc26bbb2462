"""The doctor as a callback of Keras 3.

    model.fit(x, y, validation_data=(x_val, y_val), callbacks=[KerasDoctor("runs/mine", "binary")])

On the torch backend, which runs as it is written, the loss, outputs and targets of every batch are seen on their way through
`model.compute_loss`, which costs no pass of its own. A graph shows no values: on the other backends the losses are read from the
logs, and the validation scores from one further pass over `validation_data` of this callback, where it is given. The loss states
itself, with whether it takes probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.adapters.arrays import is_tensor
from osler.adapters.framework import base_class
from osler.adapters.stated import read_criterion
from osler.adapters.watch import Watch, watch

if TYPE_CHECKING:
    Callback: Any = object
else:
    Callback = base_class("keras.callbacks", "Callback", "keras")

__all__ = ["KerasDoctor"]

UNDER = "osler_watches"
"""Attribute of the function put in the place of `compute_loss`: what stood there."""


class KerasDoctor(Callback):  # type: ignore[misc]
    """Watches a fit.

    Args:
        folder: of the run.
        task: binary, multilabel, multiclass or segmentation.
        classes: names.
        validation_data: (inputs, targets), for backends other than torch.
        stated: whatever else `osler.watch` takes, such as outputs, facts, stop_on.
    """

    def __init__(
        self,
        folder: Path | str,
        task: str,
        classes: Sequence[str] | None = None,
        validation_data: tuple[Any, Any] | None = None,
        **stated: Any,
    ) -> None:
        super().__init__()
        self.folder, self.task, self.classes, self.stated = folder, task, classes, stated
        self.validation_data = validation_data
        self.doctor: Watch | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        settings, probabilities = ({}, None) if self.model.loss is None else read_criterion(self.model.loss)
        stated = {
            "loss": settings or None,
            "outputs": "logits" if probabilities is False else "probabilities",
            **self.stated,
        }
        self.doctor = watch(self.folder, self.task, self.classes, **stated)
        self.doctor.learn(_facts(self.model.optimizer, self.params))
        self._see_batches(self.doctor)

    def _see_batches(self, doctor: Watch) -> None:
        """Looks on as the model works out its loss; for the time of the fit."""
        found = self.model.compute_loss
        compute_loss = getattr(found, UNDER, found)  # a fit that broke off left its watch on the model

        def watched(
            x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True, **more: Any
        ) -> Any:
            loss = compute_loss(x, y, y_pred, sample_weight, training=training, **more)
            if is_tensor(y_pred):  # what a graph is traced with is no value
                if training:
                    doctor.step(loss, y_pred, y)
                else:
                    doctor.validate(y_pred, y, loss=loss)
            return loss

        setattr(watched, UNDER, compute_loss)
        self.model.compute_loss = watched

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        doctor, told = self.doctor, logs or {}
        assert doctor is not None, "Keras begins the training before it ends an epoch"
        if not doctor.val.begun and self.validation_data is not None:
            inputs, targets = self.validation_data
            doctor.validate(self.model.predict(inputs, verbose=0), np.asarray(targets))
        doctor.end_epoch(
            lr=_rate(self.model.optimizer),
            train_loss=None if doctor.train.begun else told.get("loss"),
            val_loss=None if doctor.val.losses else told.get("val_loss"),
        )
        if doctor.wants_stop:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        del self.model.compute_loss  # the instance's own; the class's comes to light again
        if self.doctor is not None:
            self.doctor.close("stopped by the doctor" if self.doctor.wants_stop else "the fit ended")


def _rate(optimizer: Any) -> float | None:
    """The learning rate in force."""
    return None if optimizer is None else float(optimizer.learning_rate)


def _facts(optimizer: Any, params: Mapping[str, Any] | None) -> dict[str, Any]:
    plan = params or {}
    facts = {"training.epochs": plan.get("epochs"), "training.steps_per_epoch": plan.get("steps")}
    if optimizer is not None:
        facts |= {
            "training.optimizer": type(optimizer).__name__.lower(),  # its name is numbered: adam_1
            "training.learning_rate": _rate(optimizer),
            "training.weight_decay": getattr(optimizer, "weight_decay", None),
            "training.clip_norm": getattr(optimizer, "global_clipnorm", None),
        }
    return facts
