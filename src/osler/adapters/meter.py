"""What an optimiser's steps show: learning rate, gradient norm, and how far a step moves the weights.

Hooks of the optimiser itself measure it, so that a loop needs no line for it. Nothing waits for the device before the epoch's
end. The norm is that of the gradients as the step takes them, after clipping where the loop clips.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from osler.adapters.arrays import Array, loss_values

__all__ = ["StepMeter", "optimizer_facts"]

MEASURED = 8
"""Steps an epoch that are measured: each costs a copy of the weights."""


def optimizer_facts(optimizer: Any) -> dict[str, Any]:
    """What a torch optimiser says of itself, under the configuration's keys."""
    groups = optimizer.param_groups
    facts: dict[str, Any] = {
        "training.optimizer": type(optimizer).__name__.lower(),
        "training.learning_rate": max(float(group.get("initial_lr", group["lr"])) for group in groups),
    }
    for name in ("weight_decay", "momentum"):
        if isinstance(groups[0].get(name), (int, float)):
            facts[f"training.{name}"] = float(groups[0][name])
    return facts


class StepMeter:
    """Listens to a torch optimiser.

    Args:
        optimizer: a `torch.optim.Optimizer`.
        clip: norm to which the loop clips gradients; None where it does not.

    Attributes:
        steps: seen so far.
        cost: seconds spent in here; the owner sets it back.
    """

    def __init__(self, optimizer: Any, clip: float | None = None) -> None:
        self.clip = clip
        self.steps = 0
        self.cost = 0.0
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        self._last_epoch = 0
        self._begin()

    def _begin(self) -> None:
        self._done = 0
        self._rates: tuple[float, float] | None = None
        self._norms: list[Array] = []
        self._ratios: list[Array] = []
        self._cut: list[Array] = []
        self._cosines: list[Array] = []
        self._gradient: Array | None = None
        self._before: tuple[list[Array], list[Array]] | None = None

    def _is_due(self) -> bool:
        if self._last_epoch:
            return self._done % math.ceil(self._last_epoch / MEASURED) == 0
        return self._done & (self._done + 1) == 0  # 0, 1, 3, 7 ...: how long the first epoch is, nobody knows

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        begun = time.perf_counter()
        self._look(optimizer)
        self.cost += time.perf_counter() - begun

    def _look(self, optimizer: Any) -> None:
        rate = max(float(group["lr"]) for group in optimizer.param_groups)
        self._rates = (self._rates[0] if self._rates else rate, rate)
        due = self._is_due()
        if not due and self._gradient is None:
            return
        from torch.nn.utils import get_total_norm

        from osler.train.update import without_gradient

        learning = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self._compare(learning, due)
        if not due:
            return
        if learning:
            self._cut.append(without_gradient(learning))
        moved = [p for p in learning if p.grad is not None]
        if not moved:  # the loss reaches none of the weights
            self._norms.append(0.0)
            self._ratios.append(0.0)
            return
        self._norms.append(get_total_norm([p.grad.detach() for p in moved]))
        self._before = moved, [p.detach().clone() for p in moved]

    def _compare(self, learning: list[Any], due: bool) -> None:
        """A measured step's gradient with that of the step after it."""
        from osler.train.update import gradient_cosine, gradient_sample

        now = gradient_sample(learning) if learning else None
        if now is not None and self._gradient is not None and len(now) == len(self._gradient):
            self._cosines.append(gradient_cosine(self._gradient, now))
        self._gradient = now if due else None

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.steps += 1
        self._done += 1
        if self._before is None:
            return
        from osler.train.update import update_ratio

        begun = time.perf_counter()
        after, before = self._before
        self._ratios.append(update_ratio(before, after))
        self._before = None
        self.cost += time.perf_counter() - begun

    def epoch_done(self) -> dict[str, Any]:
        """`optimization` and `learning_rate` of the epoch, as far as steps were seen."""
        if not self._done:
            return {}
        norms, ratios, cut, cosines = (loss_values(each) for each in (self._norms, self._ratios, self._cut, self._cosines))
        rates = self._rates
        assert rates is not None, "a step was taken"
        self._last_epoch = self._done
        self._begin()
        clipped = None if self.clip is None else float(np.mean(norms >= 0.999 * self.clip)) if len(norms) else math.nan
        return {
            "learning_rate": {"start": rates[0], "end": rates[1]},
            "optimization": {
                "gradient_norm": {**_spread(norms, p90=0.9), "clipped_share": clipped},
                "update_ratio": _spread(ratios),
                "without_gradient": float(cut.min()) if len(cut) else math.nan,
                "gradient_cosine": float(np.median(cosines)) if len(cosines) else math.nan,
            },
        }

    def close(self) -> None:
        """Lets go of the optimiser."""
        for hook in self._hooks:
            hook.remove()


def _spread(values: np.ndarray[Any, Any], **quantiles: float) -> dict[str, float]:
    if not len(values):
        return {"median": math.nan, "max": math.nan}
    shares = {name: float(np.quantile(values, share)) for name, share in quantiles.items()}
    return {"median": float(np.median(values)), **shares, "max": float(values.max())}
