"""The doctor as a callback of PyTorch Lightning (the package pytorch-lightning).

    trainer = Trainer(callbacks=[LightningDoctor("runs/mine", "binary")])

`training_step` and `validation_step` return {"loss": ..., "logits": ..., "targets": ...}, or `read` says where these are. Facts
(optimiser, epochs planned, batch size, clipping, precision, early stopping) come from the trainer; a loss of torch that the
module holds states itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.adapters.framework import base_class
from osler.adapters.stated import CRITERIA
from osler.adapters.watch import Watch, watch

if TYPE_CHECKING:
    Callback: Any = object
else:
    Callback = base_class("pytorch_lightning", "Callback", "pytorch-lightning")

__all__ = ["LightningDoctor"]

Read = Callable[[Any, Any], tuple[Any, Any, Any]]
"""(what a step returned, batch) → (loss, outputs, targets), each None where it is not there."""


class LightningDoctor(Callback):  # type: ignore[misc]
    """Watches a fit; validation batches of the first loader only, and of the first process only.

    Args:
        folder: of the run.
        task: binary, multilabel, multiclass or segmentation.
        classes: names.
        read: where loss, outputs and targets are; None: by these keys in what a step returns: loss, logits, targets.
        stated: whatever else `osler.watch` takes, such as loss, facts, stop_on.
    """

    def __init__(
        self, folder: Path | str, task: str, classes: Sequence[str] | None = None, read: Read | None = None, **stated: Any
    ) -> None:
        super().__init__()
        self.folder, self.task, self.classes, self.stated = folder, task, classes, stated
        self.read = read or _read
        self.doctor: Watch | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            stated = {"loss": _own_loss(pl_module), **self.stated}
            self.doctor = watch(self.folder, self.task, self.classes, **stated)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.doctor is None:
            return
        self.doctor.learn(_facts(trainer))
        if trainer.optimizers:
            self.doctor.listen(trainer.optimizers[0])
        if trainer.world_size > 1:
            self.doctor.note(f"figures are of the first process's share alone, one of {trainer.world_size}")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.doctor is None:
            return
        loss, logits, targets = self.read(outputs, batch)
        # Lightning hands over the loss divided by the batches that make a step.
        self.doctor.step(None if loss is None else loss * trainer.accumulate_grad_batches, logits, targets)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.doctor is not None:
            self.doctor.val.clear()  # of several validations in an epoch the last counts

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.doctor is None or trainer.sanity_checking or dataloader_idx:
            return
        loss, logits, targets = self.read(outputs, batch)
        if logits is None:
            self.doctor.note("validation_step returns no logits and targets: without them there are no scores")
        self.doctor.validate(logits, targets, loss=loss)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        stop = False
        if self.doctor is not None:
            logged = None if self.doctor.val.begun else trainer.callback_metrics.get("val_loss")
            self.doctor.end_epoch(val_loss=None if logged is None else float(logged))
            stop = self.doctor.wants_stop
        # All processes stop together.
        trainer.should_stop = trainer.should_stop or trainer.strategy.reduce_boolean_decision(stop, all=False)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.doctor is not None:
            self.doctor.close(f"the loop ended by {type(exception).__name__}")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self.doctor is not None:
            self.doctor.close("stopped by the doctor" if self.doctor.wants_stop else "the fit ended")


def _read(outputs: Any, batch: Any) -> tuple[Any, Any, Any]:
    if isinstance(outputs, Mapping):
        return outputs.get("loss"), outputs.get("logits"), outputs.get("targets")
    return outputs, None, None


def _own_loss(module: Any) -> Any:
    """The one loss of torch that a module holds; None where there is none, or several."""
    found = [child for child in module.children() if type(child).__name__ in CRITERIA]
    return found[0] if len(found) == 1 else None


def _facts(trainer: Any) -> dict[str, Any]:
    epochs, clip = trainer.max_epochs, trainer.gradient_clip_val
    facts: dict[str, Any] = {
        "training.epochs": epochs if epochs and epochs > 0 else None,
        "training.batch_size": getattr(trainer.train_dataloader, "batch_size", None),
        "training.accumulate": trainer.accumulate_grad_batches,
        "training.precision": str(trainer.precision),
        "training.clip_norm": clip if trainer.gradient_clip_algorithm != "value" else None,
    }
    stopping = [each for each in trainer.callbacks if type(each).__name__ == "EarlyStopping"]
    if stopping:
        facts |= {
            "training.early_stopping": stopping[0].patience,
            "training.min_delta": abs(stopping[0].min_delta),
            "training.monitor": stopping[0].monitor,
        }
    return facts
