"""Losses of labels, what each of their parameters does, and how NaN targets stay out.

A loss takes logits (B, K) and targets (B, K) in {0, 1, NaN} and answers with two sums for each sample, so that means,
standard errors and the exclusion of unknown targets are exact over any batching:

    mean loss = values.sum() / weights.sum()

Its numpy twin for constant predictions is in `osler.metrics.floors`; a contract test holds the two equal to 1e-6. What moves
which way, for one class (σ the sigmoid, p = σ(z), target 1 or 0), each direction probed numerically by the contract test:

    bce            pos_weight · −log p                          or  −log(1 − p)
    focal          alpha · (1 − p)^gamma · −log p               or  (1 − alpha) · p^gamma · −log(1 − p)
    cross_entropy  class_weights[y] · −log softmax(z)[y],       mean over the weights

* `pos_weight` > 1 makes a false negative dearer than a false positive, and moves the best constant prediction up.
* `alpha` is the share of the positives: below 0.5 it makes a false negative *cheaper* than a false positive, whatever their
  numbers; without alpha both factors are 1.
* `gamma` mutes samples that are already right; 0 leaves cross-entropy.
* `class_weights` make each sample of a class count so many times, in the sum and in the mean's denominator.
* `label_smoothing` s: 1 becomes 1 − s/2 and 0 becomes s/2 (bce, focal); 1 becomes 1 − s + s/K and 0 becomes s/K
  (cross_entropy). The smoothed target mixes the two terms of a formula above; a sample's class weight stays that of its label.

All arithmetic is in float32 at least, inside autocast too, and on log σ or log softmax, so that no logit overflows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import ConfigError, lookup
from osler.losses.terms import LossTerms
from osler.metrics.weights import LossSpec

__all__ = ["LOSSES", "Bce", "CrossEntropy", "Focal", "Loss", "build_loss"]


class Loss(nn.Module):
    """Base of the losses: logits (B, K) and targets (B, K) in {0, 1, NaN} → `LossTerms`."""

    def __init__(self, spec: LossSpec) -> None:
        super().__init__()
        self.spec = spec

    def _hold(self, name: str, values: NDArray[np.float64] | None) -> None:
        """Keeps a parameter (K,) as a buffer, which follows the module's device but is no part of a checkpoint."""
        self.register_buffer(name, None if values is None else torch.as_tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> LossTerms:
        raise NotImplementedError


class _Independent(Loss):
    """Classes that do not exclude each other: a sample's value is the sum over its known classes, its weight their number."""

    def forward(self, logits: Tensor, targets: Tensor) -> LossTerms:
        logits, targets = _aligned(logits, targets)
        known = ~torch.isnan(targets)
        # Unknown cells are replaced before any arithmetic: 0 · NaN is NaN, in the gradient too.
        shift = self.spec.label_smoothing
        soft = torch.where(known, targets, 0.0) * (1 - shift) + shift / 2
        positive, negative = self._terms(torch.where(known, logits, 0.0))
        values = torch.where(known, soft * positive + (1 - soft) * negative, 0.0)
        return LossTerms(values.sum(1), known.sum(1).to(values.dtype))

    def _terms(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) what a positive and what a negative would cost at these logits."""
        raise NotImplementedError


class Bce(_Independent):
    """Binary cross-entropy for each class; `pos_weight` (K,) multiplies the term of the positives."""

    def __init__(self, spec: LossSpec) -> None:
        super().__init__(spec)
        self.pos_weight: Tensor | None
        self._hold("pos_weight", spec.pos_weight)

    def _terms(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
        if self.pos_weight is not None:
            positive = positive * self.pos_weight.to(logits.dtype)
        return positive, negative


class Focal(_Independent):
    """Focal loss (Lin et al. 2017, equation 5) for each class; without `alpha` (K,) positives and negatives weigh 1 each."""

    def __init__(self, spec: LossSpec) -> None:
        super().__init__(spec)
        self.alpha: Tensor | None
        self._hold("alpha", spec.alpha)

    def _terms(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        log_p, log_q = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        # (1 − p)^gamma as exp(gamma · log(1 − p)): its gradient stays finite where p rounds to 1 and gamma is below 1.
        positive = -torch.exp(self.spec.gamma * log_q) * log_p
        negative = -torch.exp(self.spec.gamma * log_p) * log_q
        if self.alpha is not None:
            alpha = self.alpha.to(logits.dtype)
            positive, negative = alpha * positive, (1 - alpha) * negative
        return positive, negative


class CrossEntropy(Loss):
    """Softmax cross-entropy for classes that exclude each other; targets are one-hot rows.

    A sample of class y has the weight w = class_weights[y] and the value w · nll; a row with any NaN has neither. Smoothing
    changes the target inside nll and leaves w alone (torch spreads the class weights over the smoothed target instead; the
    two agree where there is no smoothing or no weight).
    """

    def __init__(self, spec: LossSpec) -> None:
        super().__init__(spec)
        self.class_weights: Tensor | None
        self._hold("class_weights", spec.class_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> LossTerms:
        logits, targets = _aligned(logits, targets)
        known = ~torch.isnan(targets).any(1, keepdim=True)
        hard = torch.where(known, targets, 0.0)
        shift = self.spec.label_smoothing
        soft = hard * (1 - shift) + shift / hard.shape[1]
        surprise = -(soft * functional.log_softmax(torch.where(known, logits, 0.0), dim=1)).sum(1)
        weights = hard if self.class_weights is None else hard * self.class_weights.to(logits.dtype)
        weights = weights.sum(1)
        return LossTerms(weights * surprise, weights)


LOSSES: dict[str, type[Loss]] = {"bce": Bce, "cross_entropy": CrossEntropy, "focal": Focal}


def build_loss(spec: LossSpec) -> Loss:
    """The loss of this specification; move it to the logits' device with `.to(device)`.

    >>> from osler.metrics.weights import LossSpec
    >>> terms = build_loss(LossSpec("bce"))(torch.zeros(2, 1), torch.tensor([[1.0], [float("nan")]]))
    >>> terms.weights.tolist(), round(terms.mean().item(), 4)
    ([1.0, 0.0], 0.6931)
    """
    return lookup(LOSSES, spec.type, "loss.type", ConfigError)(spec)


def _aligned(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both (B, K) in one type, float32 at least: half precision cannot tell a probability of 0.9999 from 1."""
    assert logits.ndim == 2, f"logits must be (B, K), not {tuple(logits.shape)}"
    assert logits.shape == targets.shape, f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must agree"
    kind = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(kind), targets.to(kind)
