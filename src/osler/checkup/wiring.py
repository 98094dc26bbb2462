"""Wiring: whether the image reaches the output, the gradient every weight, and the optimiser what learns; and both modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.checkup.answers import finest
from osler.checkup.check import Check, failed, passed
from osler.checkup.patient import Fed, Patient, Stage
from osler.doctor.findings import Change

__all__ = ["check_gradients", "check_modes", "check_reading"]

STEPS = 2
SETTLING = 200
"""Forward passes at most in which batch statistics may settle."""
FEW_IN_BATCH = 4
TINY = 1e-6


def check_reading(patient: Patient) -> Sequence[Check]:
    """Whether outputs differ between images, and between real and zeroed ones."""
    fed = patient.batches(1)[0]
    with torch.no_grad():
        patient.model.eval()
        real = finest(patient.outputs(fed)).float()
        blank = finest(patient.outputs(Fed(torch.zeros_like(fed.images), fed.targets))).float()
    spread = float(real.reshape(len(fed), -1).std(0).mean()) if len(fed) > 1 else math.nan
    moved = float((real - blank).abs().mean())
    size = max(float(real.abs().mean()), 1e-3)
    said = f"Outputs differ by {spread:.3g} (SD) from image to image, and by {moved:.3g} from those of blank images"
    figures: dict[str, Any] = {"between_images": spread, "against_blank": moved}
    if not math.isfinite(float(real.sum())):
        means = "Nothing that the model computes from here on is a number."
        return [failed("non_finite", "critical", "The model's first outputs are not finite.", means, **figures)]
    if max(spread if math.isfinite(spread) else 0.0, moved) <= TINY * size:
        return [
            failed(
                "frozen_network",
                "critical",
                f"{said}: the model does not look at the image.",
                "What comes out does not depend on what goes in: features are cut off, zeroed or dead on the way.",
                [],
                ["follow one image through the layers and find where its activations become constant"],
                **figures,
            )
        ]
    return [passed("reading", f"{said}.", **figures)]


# --- gradients ----------------------------------------------------------------------------------------------------------------


def check_gradients(patient: Patient) -> Sequence[Check]:
    """In each stage: which parameters get a gradient, which of them the optimiser moves, and whether what is frozen stays."""
    found: list[Check] = []
    told = []
    for number, stage in enumerate(patient.stages):
        checks, said = _stage(patient, stage, number)
        found += checks
        told.append(said)
    return found or [passed("gradients", " ".join(told))]


def _stage(patient: Patient, stage: Stage, number: int) -> tuple[list[Check], str]:
    stage.enter()
    optimizer = stage.optimizer()
    names = {id(parameter): name for name, parameter in patient.model.named_parameters()}
    learning = {name: each for name, each in patient.model.named_parameters() if each.requires_grad}
    frozen = {name: each for name, each in patient.model.named_parameters() if not each.requires_grad}
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    before = {name: each.detach().clone() for name, each in patient.model.named_parameters()}
    reached = _reached(patient, optimizer, stage, learning)
    moved = {name for name, each in patient.model.named_parameters() if not torch.equal(each, before[name])}
    faults = {
        "no gradient reaches": [name for name in learning if name not in reached],
        "the optimiser does not hold": [name for name, each in learning.items() if id(each) not in held],
        "the optimiser does not move": [name for name in learning if name in reached and name not in moved],
        "the optimiser moves, though frozen,": [name for name in frozen if name in moved],
    }
    strange = sum(key not in names for key in held)
    ratio = _ratio(before, patient, moved)
    where = f"Stage {number + 1} ({stage.name}): " if len(patient.stages) > 1 else ""
    said = f"{where}{len(learning)} parameters learn, all get a gradient and are moved (update / weight {ratio:.2g})"
    said += f"; {len(frozen)} are frozen and stay." if frozen else "."
    checks = [_cut(where, what, some, len(learning), strange) for what, some in faults.items() if some]
    if not learning:
        checks = [_cut(where, "nothing is left to learn: no parameter requires a gradient in", ["the whole model"], 1, 0)]
    return checks[:1], said


def _reached(patient: Patient, optimizer: torch.optim.Optimizer, stage: Stage, learning: dict[str, nn.Parameter]) -> set[str]:
    """Names of parameters that got a gradient other than 0 in a few steps."""
    reached: set[str] = set()

    def look(_: list[float]) -> bool:
        reached.update(name for name, each in learning.items() if each.grad is not None and bool((each.grad != 0).any()))
        return False

    for parameter in patient.model.parameters():
        parameter.grad = None
    patient.fit(patient.batches(STEPS), optimizer, [stage.rate] * STEPS, stop=look)
    return reached


def _cut(where: str, what: str, names: list[str], learning: int, strange: int) -> Check:
    some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    other = f" The optimiser holds {strange} tensors that are no parameters of this model." if strange else ""
    share = len(names) / max(1, learning)
    return failed(
        "frozen_network",
        "critical" if share >= 0.5 else "warning",
        f"{where}{what} {len(names)} of {learning} parameters: {some}.{other}",
        "These layers stay as they began, whatever the training does.",
        [Change("training.phases", None, None, "train all layers")] if "though frozen" not in what else [],
        ["look for detach(), no_grad() and .data on the way, for layers that are never called, and for an optimiser that was "
         "made before layers were unfrozen, replaced or copied"],
        parameters=len(names),
    )  # fmt: skip


@torch.no_grad()
def _ratio(before: dict[str, Tensor], patient: Patient, moved: set[str]) -> float:
    parts = [(each - before[name], before[name]) for name, each in patient.model.named_parameters() if name in moved]
    if not parts:
        return 0.0
    change, weight = (math.sqrt(sum(float((pair[k].double() ** 2).sum()) for pair in parts)) for k in (0, 1))
    return change / max(weight, 1e-12) / STEPS


# --- training and evaluation mode ---------------------------------------------------------------------------------------------


def check_modes(patient: Patient) -> Sequence[Check]:
    """Evaluation mode: the same answer twice, whatever else is in the batch; and training mode's once statistics settled."""
    feds = patient.batches(4)
    fed = feds[0]
    with torch.no_grad():
        patient.model.eval()
        first, second = (finest(patient.outputs(fed)).float() for _ in range(2))
        half = finest(patient.outputs(fed.take(range(max(1, len(fed) // 2))))).float()
    size = max(float(first.std()) if first.numel() > 1 else 0.0, 1e-4)
    chance = float((first - second).abs().max())
    company = float((first[: len(half)] - half).abs().max())
    if max(chance, company) > 0.05 * size + 1e-3:
        what = "twice the same batch" if chance > 0.05 * size + 1e-3 else "the same images in a smaller batch"
        return [
            failed(
                "train_eval_gap",
                "warning",
                f"In evaluation mode {what} gives outputs up to {max(chance, company):.3g} apart (their SD is {size:.3g}).",
                "Dropout or batch statistics are in force where the model is judged and used.",
                [],
                ["check that eval() reaches every layer, and that no layer is called with training=True"],
                repeated=chance,
                companions=company,
            )
        ]
    return _settled(patient, feds) + _companions(patient, feds)


def _settled(patient: Patient, feds: Sequence[Fed]) -> list[Check]:
    """The loss in both modes after as many forward passes as two epochs have, so that statistics could settle."""
    layers = [module for module in patient.model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return [passed("modes", "Evaluation mode repeats itself; no layer keeps statistics of batches.")]
    stage = patient.stages[-1]
    stage.enter()
    rate = patient.suggested if math.isfinite(patient.suggested) else stage.rate
    learning = [parameter for parameter in patient.model.parameters() if parameter.requires_grad]
    patient.fit(feds, torch.optim.AdamW(learning, lr=rate), [min(rate, 1e-2)] * 8, dropout=False)
    passes = min(SETTLING, max(40, 2 * (patient.scale.batches or SETTLING)))
    with torch.no_grad():
        patient.model.train()
        patient.without_dropout()
        for number in range(passes):
            patient.outputs(feds[number % len(feds)])
        trained = patient.mean_loss(feds)
        patient.model.eval()
        evaluated = patient.mean_loss(feds)
    floor = patient.start(feds).floor
    scale = floor if math.isfinite(floor) and floor > 0.05 else max(abs(trained), 0.05)
    stale = [1.0 - layer.momentum for layer in layers if layer.momentum is not None]
    left = max((share**passes for share in stale), default=0.0)
    said = (
        f"After {passes} forward passes the same batches cost {trained:.4g} in training mode and {evaluated:.4g} in evaluation "
        "mode"
    )
    figures: dict[str, Any] = {"train_mode": trained, "eval_mode": evaluated, "passes": passes, "left_of_first_statistics": left}
    if not evaluated < trained + 0.5 * scale:
        more = f"; {left:.0%} of the first statistics are still in force" if left > 0.05 else ""
        return [
            failed(
                "train_eval_gap",
                "critical" if not evaluated < trained + 2 * scale else "warning",
                f"{said}{more}.",
                "Validation and use see another network than training does: stored batch statistics do not fit.",
                [Change("training.batch_size", None, 16, "statistics of larger batches are steadier")] if left <= 0.05 else [],
                ["raise the momentum of batch normalisation (torch's usual 0.1), or use GroupNorm"],
                **figures,
            )
        ]
    if left > 0.3:
        return [
            failed(
                "train_eval_gap",
                "warning",
                f"{said}, but {left:.0%} of the first statistics of batch normalisation are still in force after two epochs.",
                "Evaluation normalises by numbers that were never measured.",
                [],
                ["raise the momentum of batch normalisation (torch's usual 0.1)"],
                **figures,
            )
        ]
    return [passed("modes", f"{said}; evaluation mode repeats itself.", **figures)]


def _companions(patient: Patient, feds: Sequence[Fed]) -> list[Check]:
    """How far the companions of a batch move a sample's output through batch statistics, where batches are small."""
    size = max(len(fed) for fed in feds)
    layers = any(isinstance(module, _BatchNorm) for module in patient.model.modules())
    if not layers or size > FEW_IN_BATCH:
        return []
    noise, signal = _noise(patient, patient.batches(16))
    ratio = noise / max(signal, 1e-12)
    return [
        failed(
            "small_norm_batches",
            "warning",
            f"Batches of {size}: the companions of a batch move a sample's output by {noise:.3g} (SD), {ratio:.0%} of what "
            "samples differ by.",
            "Batch normalisation over so few samples is mostly noise, and differs from evaluation mode.",
            [Change("training.batch_size", size, 16, "statistics of enough samples")],
            ["or use GroupNorm; accumulating gradients does not change batch statistics"],
            noise=noise,
            signal=signal,
        )
    ]


@torch.no_grad()
def _noise(patient: Patient, feds: Sequence[Fed]) -> tuple[float, float]:
    """SD of one sample's outputs over companions, and SD over samples."""
    patient.model.train()
    patient.without_dropout()
    kept = feds[0].take([0])
    outputs = []
    for number in count():
        if number >= len(feds) - 1:
            break
        other = feds[number + 1]
        if len(other) < 2:
            continue
        images = torch.cat([kept.images, other.images[1:]])
        outputs.append(finest(patient.outputs(Fed(images, other.targets))).float().flatten(1))
    if len(outputs) < 2:
        return math.nan, math.nan
    firsts = torch.stack([each[0] for each in outputs])
    every = torch.cat([each[1:] for each in outputs])
    return float(firsts.std(0).mean()), float(np.float64(every.std(0).mean()))
