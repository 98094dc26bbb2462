"""What becomes of the labels between the table and the loss."""

from __future__ import annotations

import numpy as np

from osler.doctor.case import Case
from osler.doctor.faults.fault import Fault, Lookalike
from osler.doctor.faults.sampling import draws_as_the_data
from osler.doctor.findings import Evidence, Lacking, Signs
from osler.doctor.labels import measured_labels, numbers_of, stated_labels
from osler.metrics.proportion import wilson

__all__ = ["LOADING"]

# Standard errors between what is drawn and what was to be drawn.
FAR_LOADED = 4.0


def labels_not_loaded(case: Case) -> Signs | Lacking | None:
    """The labels that training was done with are not those that the run itself found in the data."""
    seen = measured_labels(case.chart, "train")
    drawn = stated_labels(case.chart, "train", case.classes) if not case.balanced_sampler else None
    expected = numbers_of(case.facts.get("prevalence.drawn"), case.classes)
    shares = expected if expected is not None else None if drawn is None else drawn.share
    if seen is None or shares is None or len(shares) != len(seen.share) or not seen.n > 0:
        return Lacking("the prevalence of train by epoch, and prevalence.drawn or prevalence.train as the data hold it")
    if case.balanced_sampler and draws_as_the_data(case, seen):
        return None  # that is the sampler, which does not balance
    error = np.sqrt(np.maximum(shares * (1 - shares), 1e-9) / seen.n)
    away = np.abs(seen.share - shares) / error
    k = int(np.argmax(away))
    if not away[k] > FAR_LOADED or abs(seen.share[k] - shares[k]) < 0.2 * shares[k]:
        return None
    name = seen.names[k] or "positives"
    low, high = (float(end) for end in wilson(seen.share[k] * seen.n, seen.n))
    text = (
        f"Training saw {seen.share[k]:.2%} {name}, and what was to be drawn from the data holds {shares[k]:.2%}: labels are lost "
        "or changed on the way from the table into the loss."
    )
    evidence = (Evidence(f"train.prevalence of {name}", float(seen.share[k]), None, low, high, float(shares[k]), "of the data"),)
    actions = (
        "take one batch from the loader, and compare its ids and labels with the table, row by row",
        "check what maps labels to numbers: spelling, case, spaces, a missing value read as negative",
    )
    return Signs(text, evidence, "critical", 0.9, (), actions, (float(case.chart.epochs[0]),))


LOADING: dict[str, Fault] = {
    "labels_not_loaded": Fault(
        id="labels_not_loaded",
        scope="classification",
        name="Labels lost on the way",
        family="loading",
        level="cause",
        means="The labels that reached the loss are not those of the data: positives are lost, or classes changed places.",
        needs="the prevalence of train by epoch, and prevalence.drawn, or prevalence.train without a sampler",
        signature=labels_not_loaded,
        severity="critical",
        dose="none: mend the way from table to loss",
        explains=(
            "not_learning",
            "single_class_prediction",
            "chance_auc",
            "stuck_loss",
            "loss_at_zero",
            "vanishing_gradients",
            "learning_rate_too_low",
            "overfitting",
            "validation_differs",
            "shifted_splits",
            "threshold_mismatch",
            "batches_without_positives",
            "accuracy_is_majority",
            "best_from_noise",
            "declared_not_loaded",
            "samples_sorted",
        ),
        lookalikes=(
            Lookalike("sampler_starves_findings", "what is drawn holds no more than the data do, under a sampler that balances"),
            Lookalike("shifted_splits", "prevalence.train and prevalence.val differ in the data already"),
        ),
        harmful=("weights for the positives that are left",),
        source="what training saw against what the data hold, four standard errors apart",
    ),
}
