"""Constants: what a loss gives for outputs that look at no image, whatever loss it is, by calling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osler.checkup.answers import Answers
from osler.checkup.patient import Fed

__all__ = ["best_constant", "constant_losses"]

Floats = NDArray[np.float64]
STARTS = (-6.0, -3.0, -1.0, 0.0, 1.0, 3.0)
STEPS = 60


def constant_losses(
    loss: Callable[[Any, Tensor], Tensor], answers: Answers, feds: Sequence[Fed], values: Sequence[Floats]
) -> Floats:
    """(V,) mean loss over the batches' targets of each of these (K,) constant outputs."""
    with torch.no_grad():
        found = [
            [float(_cost(loss, answers, fed, torch.as_tensor(each, dtype=torch.float32))) for fed in feds] for each in values
        ]
    return np.average(np.array(found), axis=1, weights=[len(fed) for fed in feds])


def best_constant(loss: Callable[[Any, Tensor], Tensor], answers: Answers, feds: Sequence[Fed]) -> tuple[float, Floats]:
    """The least mean loss of any constant output, and that output (K,): the floor of a loss that nobody described.

    Searched from several places, since overlap losses have more than one hollow. NaN where the loss is not finite anywhere, as
    one is that takes probabilities and meets numbers beyond 0 and 1.
    """
    places = [np.full(answers.outputs, value) for value in STARTS]
    try:
        losses = constant_losses(loss, answers, feds, places)
    except (RuntimeError, ValueError):
        return float("nan"), np.full(answers.outputs, np.nan)
    if not np.isfinite(losses).any():
        return float("nan"), np.full(answers.outputs, np.nan)
    values = torch.tensor(places[int(np.nanargmin(losses))], dtype=torch.float32, device=feds[0].images.device)
    values.requires_grad_()
    optimizer = torch.optim.LBFGS([values], max_iter=STEPS, line_search_fn="strong_wolfe")
    total = sum(len(fed) for fed in feds)

    def close() -> float:
        optimizer.zero_grad()
        cost = sum(
            (_cost(loss, answers, fed, values) * (len(fed) / total) for fed in feds), torch.zeros((), device=values.device)
        )
        torch.autograd.backward(cost)
        return float(cost.detach())

    with torch.enable_grad():
        optimizer.step(close)  # type: ignore[no-untyped-call]
    best = values.detach().double().cpu().numpy()
    reached = float(constant_losses(loss, answers, feds, [best])[0])
    return (reached, best) if reached <= np.nanmin(losses) else (float(np.nanmin(losses)), places[int(np.nanargmin(losses))])


def _cost(loss: Callable[[Any, Tensor], Tensor], answers: Answers, fed: Fed, values: Tensor) -> Tensor:
    return loss(answers.constant(values.to(fed.targets.device), fed.targets), fed.targets)
