"""The faults that only runs on masks can have; beside them those of `faults.BOTH`."""

from __future__ import annotations

from injection import MASKS, RATE, SAMPLER, Advice, Injection

__all__ = ["OF_MASKS"]

BETA, WEIGHTS, TYPE = "loss.tversky_beta", "loss.weights", "loss.type"
POS_WEIGHT = "loss.pos_weight"
ONLY = (MASKS,)
NOT_LESS_RATE = Advice(RATE, "down")

_LOSSES = (
    Injection(
        "tversky_low",
        "Tversky with a beta of 0.15 and of 0.03: masks that miss",
        ("tversky_beta_low",),
        (Advice(BETA, "up"),),
        (Advice(BETA, "down"), NOT_LESS_RATE),
        kinds=ONLY,
    ),
    Injection(
        "tversky_high",
        "Tversky with a beta of 0.95 and of 0.99: masks that run over",
        ("tversky_beta_high",),
        (Advice(BETA, "down"),),
        (Advice(BETA, "up"),),
        kinds=ONLY,
    ),
    Injection(
        "dice_alone",
        "Dice alone, image by image, with a smooth term of 1 and of 0",
        ("overlap_alone", "empty_case_conflict", "empty_masks"),
        (Advice(TYPE, "set"), Advice(WEIGHTS, "set"), Advice("loss.pooled", "set")),
        kinds=ONLY,
    ),
    Injection(
        "pixels_alone",
        "a tenth of the loss's weight on Dice, and BCE alone",
        ("overlap_terms_weak",),
        (Advice(TYPE, "set"), Advice(WEIGHTS, "set")),
        (NOT_LESS_RATE,),
        kinds=ONLY,
    ),
    Injection(
        "mask_weight_high",
        "BCE with a weight of foreground of background / foreground, and of 30 times that",
        ("foreground_weight_high", "full_masks"),
        (Advice(POS_WEIGHT, "down"), Advice(POS_WEIGHT, "off")),
        (Advice(POS_WEIGHT, "up"),),
        kinds=ONLY,
    ),
    Injection(
        "mask_weight_inverted",
        "BCE with a weight of foreground of ten times foreground / background, and of just that",
        ("foreground_weight_low",),
        (Advice(POS_WEIGHT, "up"), Advice(POS_WEIGHT, "off"), Advice(TYPE, "set")),
        (Advice(POS_WEIGHT, "down"), NOT_LESS_RATE),
        kinds=ONLY,
    ),
    Injection(
        "alpha_low",
        "focal loss with an alpha of 0.1 and of 0.01: probabilities under a threshold of 0.5",
        ("foreground_weight_low",),
        (Advice("loss.alpha", "up"), Advice("loss.alpha", "off"), Advice("evaluation.threshold", "set")),
        (Advice("loss.alpha", "down"), NOT_LESS_RATE),
        kinds=ONLY,
    ),
)

_DATA = (
    Injection(
        "masks_lost",
        "80 % and all of the training masks empty on the way into the loop",
        ("masks_not_loaded",),
        harmful=(NOT_LESS_RATE, Advice(RATE, "up")),
        kinds=ONLY,
    ),
    Injection(
        "masks_unscaled",
        "targets of 4 and of 255 in place of 1",
        ("negative_loss",),
        harmful=(Advice(RATE, "up"),),
        kinds=ONLY,
    ),
    Injection(
        "masks_misaligned",
        "half of the training images flipped without their masks, and all masks shifted by a quarter of the side",
        ("misaligned_masks", "label_noise", "validation_differs"),
        harmful=(Advice("training.epochs", "up"), NOT_LESS_RATE),
        kinds=ONLY,
    ),
    Injection(
        "masks_shuffled",
        "60 % and all of the training and validation masks belong to other images",
        ("labels_shuffled", "label_noise", "misaligned_masks", "not_learning"),
        harmful=(Advice("training.epochs", "up"),),
        kinds=ONLY,
    ),
    Injection(
        "masks_inverted",
        "foreground and background exchanged in 30 % and in all of the training masks",
        ("foreground_shifted",),
        kinds=ONLY,
    ),
    Injection(
        "empty_drawn",
        "a sampler that draws 90 and 99 % images without foreground",
        ("sampler_starves_findings", "batches_without_positives"),
        (Advice(SAMPLER, "off"), Advice(SAMPLER, "set")),
        (NOT_LESS_RATE,),
        kinds=ONLY,
    ),
    Injection(
        "lesions_erased",
        "preparing leaves nothing of the smaller half, and of the smaller nine tenths, of the lesions",
        ("lesions_erased",),
        (Advice("preparation.size", "up"), Advice("preparation.size", "set")),
        kinds=ONLY,
    ),
    Injection(
        "dice_of_background",
        "the Dice of the log is the mean with the background's, and the accuracy",
        ("flattering_overlap",),
        measure="honesty",
        kinds=ONLY,
    ),
)

OF_MASKS: tuple[Injection, ...] = (*_LOSSES, *_DATA)
