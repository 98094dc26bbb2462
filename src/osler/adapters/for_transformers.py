"""The doctor as a callback of the Trainer of Hugging Face's transformers.

    trainer = Trainer(model, args, ..., callbacks=[TransformersDoctor("runs/mine", "multiclass")])

A hook of the model sees loss, logits and labels of every batch, in training and in evaluation. Where the trainer takes the labels
out before the model sees them (label smoothing, a loss function of its own), the losses are read from its logs. Facts come from
the training arguments. A row of the vitals is an epoch, or an evaluation where these come by steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.adapters.framework import base_class
from osler.adapters.watch import Watch, watch

if TYPE_CHECKING:
    TrainerCallback: Any = object
else:
    TrainerCallback = base_class("transformers", "TrainerCallback", "transformers")

__all__ = ["TransformersDoctor"]

OWN_LOSS = {"binary": "cross_entropy", "multiclass": "cross_entropy", "multilabel": "bce", "segmentation": "cross_entropy"}
"""Task → the loss that the models of transformers work out themselves."""


class TransformersDoctor(TrainerCallback):  # type: ignore[misc]
    """Watches a training, on the first process only.

    Args:
        folder: of the run.
        task: binary, multilabel, multiclass or segmentation.
        classes: names; of binary the positive one.
        stated: whatever else `osler.watch` takes, such as loss, facts, stop_on.
    """

    def __init__(self, folder: Path | str, task: str, classes: Sequence[str] | None = None, **stated: Any) -> None:
        super().__init__()
        self.folder, self.task, self.classes, self.stated = folder, task, classes, stated
        self.doctor: Watch | None = None
        self._hook: Any = None
        self._logged: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        stated = {"loss": {"type": OWN_LOSS.get(self.task, "auto")}, **self.stated}
        doctor = self.doctor = watch(self.folder, self.task, self.classes, **stated)
        doctor.learn(_facts(args))
        optimizer = kwargs.get("optimizer")
        if optimizer is not None:
            doctor.listen(getattr(optimizer, "optimizer", optimizer))  # accelerate's wrapper takes no hooks
        if args.world_size > 1:
            doctor.note(f"figures are of the first process's share alone, one of {args.world_size}, and stop_on is left out")
        self._hook = kwargs["model"].register_forward_hook(self._seen, with_kwargs=True)

    def _seen(self, model: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        """A batch that went through the model."""
        labels, doctor = kwargs.get("labels"), self.doctor
        if doctor is None:
            return
        if labels is None:
            doctor.note("the model is not given the labels: without them there are no scores, and losses are read from the logs")
        elif model.training:
            doctor.step(output["loss"], output["logits"], labels)
        else:
            doctor.validate(output["logits"], labels, loss=output["loss"])

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self._logged.append(float(logs["loss"]))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
            self._end(args, control, None)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        if self._hook is not None:
            self._end(args, control, (metrics or {}).get("eval_loss"))

    def _end(self, args: Any, control: Any, val_loss: float | None) -> None:
        doctor = self.doctor
        if doctor is None:
            return
        logged, self._logged = self._logged, []
        if not doctor.train.begun and not logged:  # an evaluation before the first step
            doctor.val.clear()
            return
        doctor.end_epoch(
            train_loss=None if doctor.train.begun else sum(logged) / len(logged),
            val_loss=None if doctor.val.begun else val_loss,
        )
        if doctor.wants_stop and args.world_size == 1:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self.doctor is not None:
            self.doctor.close("stopped by the doctor" if self.doctor.wants_stop else "the training ended")


def _facts(args: Any) -> dict[str, Any]:
    return {
        "training.epochs": args.num_train_epochs if args.max_steps <= 0 else None,
        "training.batch_size": args.train_batch_size,
        "training.accumulate": args.gradient_accumulation_steps,
        "training.schedule": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "training.warmup_steps": args.get_warmup_steps(args.max_steps) if args.max_steps > 0 else args.warmup_steps or None,
        "training.learning_rate": args.learning_rate,
        "training.clip_norm": args.max_grad_norm or None,
        "training.seed": args.seed,
        "training.precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
    }
