"""The faults that are put into runs: what each is, which finding names it, which advice cures it, which would do harm.

How each is put into a run stands in `recipes.py`, under the same id.

A fault is right where one of its `roots` stands first (or among the first three) of the doctor's findings. Ids that the doctor
does not have (yet) stand here too: what has no rule is missed, and counts as missed. Advice is right by parameter and
direction; "up", "down", "off" and "set" (to anything). Where no setting cures a fault, advice is not scored.
"""

from __future__ import annotations

from dataclasses import replace

from injection import MASKS, RATE, SAMPLER, Advice, Injection
from mask_faults import OF_MASKS

__all__ = ["DOUBLES", "FAULTS", "FIRST", "LEVELS", "LOOKALIKES", "Advice", "Injection"]

LEVELS = ("mild", "severe")
POS_WEIGHT = "loss.pos_weight"
INDEPENDENT = ("binary", "multilabel")
NOT_MORE_WEIGHT = Advice(POS_WEIGHT, "up")

_RATES = (
    Injection(
        "lr_high",
        "learning rate 30 and 1,000 times too high",
        ("learning_rate_too_high", "non_finite", "exploding_gradients"),
        (Advice(RATE, "down"),),
        (Advice(RATE, "up"), NOT_MORE_WEIGHT),
    ),
    Injection(
        "lr_low",
        "learning rate 100 and 10,000 times too low",
        ("learning_rate_too_low", "updates_underflow"),
        (Advice(RATE, "up"),),
        (Advice(RATE, "down"), NOT_MORE_WEIGHT),
    ),
    Injection(
        "warmup",
        "a warm-up of 60 and 95 % of the run",
        ("warmup_too_long",),
        (Advice("training.warmup_epochs", "down"), Advice("training.warmup_epochs", "off")),
        (Advice(RATE, "down"), Advice("training.warmup_epochs", "up")),
    ),
    Injection(
        "schedule_short",
        "a schedule made for 25 and 8 % of the epochs",
        ("rate_spent_early",),
        (Advice("training.schedule", "set"),),
        (Advice("training.epochs", "up"), Advice(RATE, "down")),
    ),
    Injection(
        "rate_jump",
        "the rate 100 and 3,000 times higher from 60 % of the run on",
        ("late_collapse", "class_late_collapse", "learning_rate_too_high", "diverging_loss", "non_finite", "exploding_gradients"),
        (Advice(RATE, "down"),),
        (Advice(RATE, "up"),),
        since=0.6,
    ),
    Injection(
        "few_epochs",
        "too few epochs: 4 and 2",
        ("still_improving", "too_few_epochs", "premature_stopping"),
        (Advice("training.epochs", "up"),),
        (Advice(RATE, "down"),),
    ),
    Injection(
        "stopped_early",
        "early stopping with a patience of one epoch and a min_delta that noise does not reach",
        ("premature_stopping",),
        (Advice("training.early_stopping", "up"), Advice("training.min_delta", "down")),
        (Advice("training.min_delta", "up"), Advice(RATE, "down")),
    ),
    Injection(
        "zero_grad",
        "gradients not set to zero: 90 % and all of them stay",
        ("gradients_accumulate", "learning_rate_too_high", "diverging_loss", "exploding_gradients"),
        (),
        (Advice(RATE, "up"),),
    ),
    Injection(
        "explosion",
        "plain SGD without clipping at a rate of 3 and 100",
        ("learning_rate_too_high", "non_finite", "exploding_gradients", "diverging_loss"),
        (Advice(RATE, "down"), Advice("training.clip_norm", "set")),
        (Advice(RATE, "up"), NOT_MORE_WEIGHT),
    ),
)

_WEIGHTS = (
    Injection(
        "weight_high",
        "a positive weight 10 and 100 times negatives / positives",
        ("pos_weight_too_large",),
        (Advice(POS_WEIGHT, "down"), Advice(POS_WEIGHT, "off")),
        (NOT_MORE_WEIGHT,),
        "f1",
        kinds=INDEPENDENT,
    ),
    Injection(
        "weight_inverted",
        "a positive weight of positives / negatives, and of a tenth of that",
        ("pos_weight_inverted",),
        (Advice(POS_WEIGHT, "up"), Advice(POS_WEIGHT, "off")),
        (Advice(POS_WEIGHT, "down"),),
        "f1",
        kinds=INDEPENDENT,
    ),
    Injection(
        "weight_unapplied",
        "a balancing weight stated and a quarter of it in force; three times it stated, and a thirtieth of that in force",
        ("weight_not_in_force",),
        (),
        (NOT_MORE_WEIGHT,),
        "f1",
        kinds=INDEPENDENT,
    ),
    Injection(
        "double_correction",
        "a balancing sampler, and a weight of negatives / positives or three times that",
        ("double_correction",),
        (Advice(POS_WEIGHT, "down"), Advice(POS_WEIGHT, "off"), Advice(SAMPLER, "off")),
        (NOT_MORE_WEIGHT,),
        "f1",
        kinds=INDEPENDENT,
    ),
    Injection(
        "focal_alpha",
        "focal loss with alpha 0.25 and 0.02",
        ("focal_alpha_low",),
        (Advice("loss.alpha", "up"), Advice("evaluation.threshold", "set")),
        (Advice("loss.alpha", "down"), Advice(RATE, "down")),
        "f1",
        kinds=INDEPENDENT,
    ),
    Injection(
        "focal_gamma",
        "focal loss with gamma 10 and 40",
        ("focal_gamma_high",),
        (Advice("loss.gamma", "down"),),
        (Advice("loss.gamma", "up"), Advice(RATE, "down")),
        kinds=INDEPENDENT,
    ),
    Injection(
        "bias_wrong",
        "the output bias starts at 4 and at 12 for findings that are rare",
        ("output_bias_zero", "output_bias_wrong", "mask_bias_wrong"),
        (Advice("model.output_bias", "set"),),
        kinds=INDEPENDENT,  # to add the same to all classes changes nothing under a softmax
    ),
)

_DATA = (
    Injection(
        "labels_shuffled",
        "60 % and all of the training and validation labels belong to other samples",
        ("labels_shuffled", "label_noise", "not_learning"),
        harmful=(NOT_MORE_WEIGHT, Advice("training.epochs", "up")),
    ),
    Injection(
        "labels_noisy",
        "20 and 40 % of the training labels are wrong",
        ("label_noise", "labels_shuffled"),
        harmful=(NOT_MORE_WEIGHT,),
    ),
    Injection(
        "val_inverted",
        "80 % and all of the validation labels are the opposite",
        ("inverted_scores", "class_inverted", "classes_exchanged"),
        harmful=(Advice(RATE, "down"), NOT_MORE_WEIGHT),
    ),
    Injection(
        "positives_lost",
        "80 % and all of the positives lost on the way into the training loop",
        ("labels_not_loaded", "declared_not_loaded", "label_noise"),
        harmful=(Advice(RATE, "down"),),
    ),
    Injection(
        "val_prepared",
        "validation images with half the contrast and darker, and as negatives",
        ("validation_differs", "validation_masks_differ"),
        harmful=(Advice("training.weight_decay", "up"),),
        measure="honesty",
    ),
    Injection(
        "pixels_scaled",
        "pixels divided by 64 and by 255 before they are stored",
        ("input_out_of_range",),
        (Advice("preparation.range", "set"),),
        (Advice(RATE, "up"),),
    ),
    Injection(
        "pixels_dead",
        "images all but white, and all black",
        ("input_out_of_range",),
        (Advice("preparation.range", "set"),),
        (Advice(RATE, "up"), Advice(RATE, "down")),
    ),
    Injection(
        "pixels_nan",
        "some images are not a number, from epoch 5 and from epoch 2 on",
        ("non_finite",),
        since=0.2,
    ),
    Injection(
        "leak",
        "half and all of the validation samples stand in train too",
        ("leakage", "leakage_suspected"),
        (Advice("data.split.by_patient", "set"),),
        measure="honesty",
    ),
    Injection(
        "split_shifted",
        "the odds of a finding 2.5 and 8 times higher in validation",
        ("shifted_splits",),
        measure="none",
    ),
    Injection(
        "val_tiny",
        "24 and 8 validation samples",
        ("small_validation",),
        (Advice("data.split.ratio", "set"),),
        measure="honesty",
    ),
    Injection(
        "declared_other",
        "the declared prevalence is 1.6 and 2.5 times that of the samples loaded",
        ("declared_not_loaded",),
        measure="none",
    ),
)

_SAMPLING = (
    Injection(
        "sampler_starves",
        "a balancing sampler that draws 90 and 99 % samples without a finding",
        ("sampler_starves_findings",),
        (Advice(SAMPLER, "off"), Advice(SAMPLER, "set")),
        (NOT_MORE_WEIGHT,),
    ),
    Injection(
        "sampler_few",
        "a sampler that draws 24 and 8 samples over and over",
        ("sampler_starves_findings",),
        (Advice(SAMPLER, "off"), Advice(SAMPLER, "set")),
        (NOT_MORE_WEIGHT,),
    ),
    Injection(
        "order_sorted",
        "samples sorted by label, in four blocks an epoch and in one",
        ("samples_sorted", "batches_without_positives"),
    ),
    Injection(
        "batch_tiny",
        "batches of four and of two",
        ("small_norm_batches", "train_eval_gap", "batches_without_positives", "learning_rate_too_high", "unstable_validation"),
        (Advice("training.batch_size", "up"), Advice("training.accumulate", "up"), Advice(RATE, "down")),
        (Advice("training.batch_size", "down"), Advice(RATE, "up")),
    ),
)

_NETWORK = (
    Injection(
        "frozen",
        "only the head learns on a random network, and nothing learns",
        ("frozen_network",),
        (Advice("training.phases", "set"), Advice("training.phases", "off")),
        in_code=("severe",),  # an optimiser that does nothing
    ),
    Injection(
        "head_cut",
        "features detached from the network, and replaced by zeros",
        ("frozen_network",),
    ),
    Injection(
        "activation_twice",
        "a sigmoid (softmax) before the loss that has its own, once and twice",
        ("double_activation",),
        measure="skill",
    ),
    Injection(
        "statistics_stale",
        "batch statistics with a momentum of 0.003 and of 0",
        ("train_eval_gap",),
        measure="skill",
    ),
    Injection(
        "overfit",
        "60 and 24 samples, 40 epochs, no augmentation, dropout or decay",
        ("overfitting", "training_set_too_small"),
        (
            Advice("augmentation", "set"),
            Advice("training.weight_decay", "up"),
            Advice("model.dropout", "up"),
            Advice("training.epochs", "down"),
        ),
        (Advice("training.epochs", "up"), Advice(RATE, "up")),
    ),
    Injection(
        "augmented_away",
        "augmentation that leaves little of an image, and next to nothing",
        ("augmentation_too_strong",),
        (Advice("augmentation", "off"), Advice("augmentation", "down"), Advice("augmentation", "set")),
    ),
    Injection(
        "decay_strong",
        "a weight decay of 10 and of 100",
        ("weight_decay_too_strong", "underfitting"),
        (Advice("training.weight_decay", "down"),),
        (Advice("training.weight_decay", "up"),),
    ),
)

BOTH = (
    "lr_high", "lr_low", "warmup", "few_epochs", "stopped_early", "rate_jump", "bias_wrong", "val_prepared", "pixels_scaled",
    "leak", "frozen", "activation_twice", "statistics_stale", "overfit",
)  # fmt: skip
"""Faults of labels that are put into runs on masks too."""
_LABELS = (*_RATES, *_WEIGHTS, *_DATA, *_SAMPLING, *_NETWORK)
FAULTS: dict[str, Injection] = {
    **{fault.id: replace(fault, kinds=(*fault.kinds, MASKS)) if fault.id in BOTH else fault for fault in _LABELS},
    **{fault.id: fault for fault in OF_MASKS},
}

FIRST = (
    "lr_high", "lr_low", "weight_high", "weight_inverted", "warmup", "overfit", "labels_shuffled", "frozen", "val_inverted",
    "activation_twice", "statistics_stale", "sampler_starves",
)  # fmt: skip
"""Those whose runs come first, so that a part of the matrix is worth something."""

DOUBLES: dict[str, tuple[str, str]] = {
    "lr_high+weight_high": ("lr_high", "weight_high"),
    "lr_low+warmup": ("lr_low", "warmup"),
    "double_correction+lr_high": ("double_correction", "lr_high"),
    "labels_noisy+overfit": ("labels_noisy", "overfit"),
    "statistics_stale+lr_high": ("statistics_stale", "lr_high"),
    "focal_alpha+few_epochs": ("focal_alpha", "few_epochs"),
}
"""Two faults in one run, both at the severe level."""

LOOKALIKES: tuple[tuple[str, ...], ...] = (
    ("lr_low", "warmup", "few_epochs"),
    ("weight_high", "double_correction"),
    ("frozen", "head_cut", "lr_low", "labels_shuffled"),
    ("statistics_stale", "val_prepared", "val_inverted"),
    ("overfit", "labels_noisy", "leak"),
    ("focal_alpha", "weight_inverted"),
    ("lr_high", "zero_grad", "batch_tiny"),
    ("tversky_low", "mask_weight_inverted", "alpha_low"),
    ("tversky_high", "mask_weight_high", "masks_inverted"),
    ("masks_lost", "empty_drawn", "lesions_erased"),
)
"""Faults that look alike: right where none of the others is named before it."""
