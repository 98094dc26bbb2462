"""Loss, network and loop spoiled as it happens in real code, behind the back of the facts that a run writes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from training import Bench, Tamper

from osler.losses import build_loss
from osler.models.classifier import Classifier
from osler.tasks.classification import Classification
from osler.train.plan import Plan, build_plan

__all__ = [
    "accumulated_gradients",
    "broken_statistics",
    "cut_features",
    "late_jump",
    "other_weight",
    "output_bias",
    "output_through",
    "short_schedule",
    "still_optimizer",
]

# --- loss and network -----------------------------------------------------------------------------------------------------------


def other_weight(factor: float) -> Tamper:
    """A positive weight in force that is not the one stated: times a factor."""

    def tamper(bench: Bench) -> None:
        task = cast("Classification", bench.built[0])
        spec = task.loss_spec
        assert spec.pos_weight is not None
        task.loss = build_loss(replace(spec, pos_weight=np.maximum(spec.pos_weight * factor, 1e-3)))

    return tamper


def output_through(times: int) -> Tamper:
    """The network ends in a sigmoid (softmax), once or twice, before a loss that applies its own."""

    def tamper(bench: Bench) -> None:
        task = bench.built[0]
        forward = task.model.forward
        exclusive = task.kind == "multiclass"

        def through(images: Tensor) -> Tensor:
            outputs = forward(images)
            for _ in range(times):
                outputs = torch.softmax(outputs, 1) if exclusive else torch.sigmoid(outputs)
            return outputs

        task.model.forward = through  # type: ignore[method-assign]

    return tamper


def output_bias(value: float) -> Tamper:
    """The output starts at this bias."""

    def tamper(bench: Bench) -> None:
        model = cast("Classifier", bench.built[0].model)
        model.set_output_bias(np.full(len(bench.built[0].classes), value))

    return tamper


def broken_statistics(momentum: float) -> Tamper:
    """Batch normalisation hardly updates the statistics that evaluation uses."""

    def tamper(bench: Bench) -> None:
        for module in bench.built[0].model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum

    return tamper


def cut_features(whole: bool) -> Tamper:
    """Nothing passes from the head back to the network (detach); with `whole`, nothing passes forward either."""

    def tamper(bench: Bench) -> None:
        model = cast("Classifier", bench.built[0].model)
        features = model.features

        def cut(images: Tensor) -> Tensor:
            found = features(images).detach()
            return torch.zeros_like(found) if whole else found

        model.features = cut  # type: ignore[method-assign]

    return tamper


# --- the loop -------------------------------------------------------------------------------------------------------------------


def still_optimizer(bench: Bench) -> None:
    """The optimiser holds copies of the weights: its steps move nothing that the network uses."""
    state = bench.built[2]

    def on_epoch(epoch: int) -> None:
        for group in state.optimizer.param_groups:
            for index, parameter in enumerate(group["params"]):
                if parameter.requires_grad and epoch == 1:
                    copy = nn.Parameter(parameter.detach().clone())
                    copy.grad = torch.zeros_like(copy)
                    group["params"][index] = copy

    bench.each_epoch.append(on_epoch)


def accumulated_gradients(keep: float) -> Tamper:
    """Gradients are not set to zero after a step; so large a share of them stays."""

    def tamper(bench: Bench) -> None:
        state = bench.built[2]

        def on_epoch(epoch: int) -> None:
            optimizer = state.optimizer

            def zero_grad(set_to_none: bool = True) -> None:
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        if parameter.grad is not None:
                            parameter.grad *= keep

            optimizer.zero_grad = zero_grad  # type: ignore[method-assign]

        bench.each_epoch.append(on_epoch)

    return tamper


def short_schedule(share: float) -> Tamper:
    """The schedule was made for a part of the epochs that are run: the rate is spent long before the end."""

    def tamper(bench: Bench) -> None:
        training = bench.config.training
        plan = build_plan(training, -(-len(bench.data.rows["train"]) // training.batch_size))
        phases = tuple(replace(phase, steps=max(1, round(share * phase.steps))) for phase in plan.phases)
        bench.plan = Plan(phases, plan.steps_per_epoch, plan.schedule)

    return tamper


def late_jump(factor: float, share: float) -> Tamper:
    """After so large a share of the epochs the learning rate is multiplied, as by a restart with the wrong unit."""

    def tamper(bench: Bench) -> None:
        state = bench.built[2]
        first = round(share * state.plan.epochs)

        def on_epoch(epoch: int) -> None:
            state.progress.plateau = factor if epoch > first else 1.0

        bench.each_epoch.append(on_epoch)

    return tamper
