"""From findings to a patch: order, doses, what cannot be applied, and what was tried before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from osler.config import Config
from osler.doctor.chart import Chart
from osler.doctor.findings import Change, Diagnosis, Finding, Severity, Signs
from osler.errors import ConfigError
from osler.treat.chance import random_patch
from osler.treat.dose import measured_dose
from osler.treat.patch import Edit, Patch, apply_patch, next_patch, patch_from_json, without_training

Tiny = Callable[..., Config]


def finding(id: str, *changes: Change, severity: Severity = "critical", symptoms: tuple[Finding, ...] = ()) -> Finding:
    return Finding(id, id.replace("_", " "), "f", Signs(f"{id} seen", (), severity, 0.9, changes, ("look at it",)), symptoms)


def diagnosis(*findings: Finding, chart: Chart | None = None) -> Diagnosis:
    return Diagnosis("run", "osler", "findings", findings, chart=chart)


def change(key: str, before: Any, after: Any) -> Change:
    return Change(key, before, after, "because")


RATE = change("training.learning_rate", 2e-3, 2e-4)


def test_the_gravest_finding_comes_first(tiny: Tiny) -> None:
    config = tiny()
    mild = finding("mild", change("training.weight_decay", 1e-4, 1e-3), severity="note")
    patch, refused = next_patch(diagnosis(mild, finding("rate", RATE)), config, {"rate": "a tenth"}, (config,))
    assert patch is not None
    assert (patch.finding, patch.dose, refused) == ("rate", "a tenth", ())
    assert apply_patch(config, patch).training.learning_rate == 2e-4
    assert patch_from_json(patch.to_json()) == patch


def test_a_finding_without_changes_gives_way_to_its_symptoms(tiny: Tiny) -> None:
    config = tiny()
    patch, refused = next_patch(diagnosis(finding("cause", symptoms=(finding("shown", RATE),))), config, {}, (config,))
    assert patch is not None
    assert patch.finding == "shown"
    assert refused == ()


def test_what_was_tried_is_not_tried_again(tiny: Tiny) -> None:
    config = tiny()
    other = change("training.weight_decay", 1e-4, 1e-3)
    first, _ = next_patch(diagnosis(finding("rate", RATE), finding("decay", other)), config, {}, (config,))
    assert first is not None
    second, _ = next_patch(
        diagnosis(finding("rate", RATE), finding("decay", other)), config, {}, (config, apply_patch(config, first))
    )
    assert second is not None
    assert second.finding == "decay"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (change("training.learning_rate", None, "a tenth"), "advice"),
        (change("data.split.by_patient", False, True), "moves samples"),
        (change("loss.reduction", "sum", "mean"), "in the code"),
        (change("training.batch_size", 8, -4), "cannot be applied"),
    ],
)
def test_what_cannot_be_applied_is_said(tiny: Tiny, asked: Change, said: str) -> None:
    config = tiny()
    patch, refused = next_patch(diagnosis(finding("fault", asked)), config, {}, (config,))
    assert patch is None
    assert said in " ".join(refused)


def test_a_fault_that_no_setting_cures_is_said(tiny: Tiny) -> None:
    patch, refused = next_patch(diagnosis(finding("labels_swapped")), tiny(), {}, ())
    assert patch is None
    assert refused == ("labels swapped: no setting cures it: look at it",)


def test_settings_that_train_nothing_are_no_prescription(tiny: Tiny) -> None:
    threshold = change("evaluation.threshold", None, "f1")
    found = diagnosis(finding("threshold", threshold))
    assert next_patch(found, tiny(), {}, ())[0] is None
    assert without_training(found)[0][1] == (threshold,)


def test_words_that_have_a_setting_become_it(tiny: Tiny) -> None:
    config = tiny(augmentation={"rotation": 90.0})
    patch, _ = next_patch(diagnosis(finding("wild", change("augmentation", None, "mild"))), config, {}, (config,))
    assert patch is not None
    treated = apply_patch(config, patch)
    assert treated.augmentation is not None
    assert treated.augmentation.rotation == 10.0


def test_phases_are_scaled_in_proportion(tiny: Tiny) -> None:
    config = tiny(
        training={"phases": [{"train": "head", "epochs": 2, "learning_rate": 1e-2}, {"train": "all", "learning_rate": 2e-3}]}
    )
    patch, _ = next_patch(diagnosis(finding("rate", change("training.learning_rate", 1e-2, 1e-3))), config, {}, (config,))
    assert patch is not None
    rates = [phase.learning_rate for phase in apply_patch(config, patch).training.phases]
    assert rates == pytest.approx([1e-3, 2e-4])


def test_a_loss_leaves_nothing_that_the_next_does_not_read(tiny: Tiny) -> None:
    config = tiny(loss={"type": "bce", "pos_weight": 3.0})
    patch, _ = next_patch(diagnosis(finding("loss", change("loss.type", "bce", "focal"))), config, {}, (config,))
    assert patch is not None
    loss = apply_patch(config, patch).loss
    assert (loss.type, loss.pos_weight) == ("focal", None)


def test_warmup_epochs_are_read_where_steps_were_given(tiny: Tiny) -> None:
    config = tiny(training={"warmup_steps": 40})
    patch, _ = next_patch(diagnosis(finding("warm", change("training.warmup_epochs", 4.0, 0.1))), config, {}, (config,))
    assert patch is not None
    training = apply_patch(config, patch).training
    assert (training.warmup_epochs, training.warmup_steps) == (0.1, None)


@pytest.mark.parametrize(
    ("ratio", "before", "after", "expected"),
    [
        (2e-6, 1e-6, 1e-5, 5e-4),  # 500 times too small: no ladder of tens
        (5e-4, 1e-6, 1e-5, 1e-5),  # the steps ask for less than the doctor: his dose stands
        (1.0, 1.0, 0.1, 1e-3),
        (2e-3, 1.0, 0.1, 0.1),
    ],
)
def test_the_size_of_steps_enlarges_a_dose(ratio: float, before: float, after: float, expected: float) -> None:
    chart = Chart.of({"update_ratio.median": [ratio, ratio / 2]})
    assert measured_dose(change("training.learning_rate", before, after), chart).after == pytest.approx(expected)


def test_a_step_that_threw_the_network_out_tells_more_than_the_median_after_it() -> None:
    """At 5 the first step was 41 times the weights; those that it left were so large that the median was but 28 times usual."""
    chart = Chart.of({"update_ratio.median": [0.028, 0.01], "update_ratio.max": [41.4, 0.02]})
    assert measured_dose(change("training.learning_rate", 5.0, 0.5), chart).after == pytest.approx(0.0036)
    calm = Chart.of({"update_ratio.median": [0.028, 0.01], "update_ratio.max": [0.4, 0.02]})
    assert measured_dose(change("training.learning_rate", 5.0, 0.5), calm).after == pytest.approx(0.18)


def test_a_dose_without_measured_steps_stands() -> None:
    assert measured_dose(RATE, None) is RATE
    assert measured_dose(RATE, Chart.of({"train.loss": [1.0]})) is RATE
    words = change("training.learning_rate", None, "a third")
    assert measured_dose(words, Chart.of({"update_ratio.median": [1.0]})) is words


@pytest.mark.parametrize("seed", range(12))
def test_a_random_change_is_one_that_can_be_trained(tiny: Tiny, seed: int) -> None:
    config = tiny()
    patch = random_patch(config, {"training.learning_rate"}, seed)
    assert len(patch.edits) == 1
    assert patch.edits[0].key != "training.learning_rate"
    assert apply_patch(config, patch) != config
    assert random_patch(config, {"training.learning_rate"}, seed) == patch


def test_of_masks_no_setting_of_labels_is_changed(tiny: Tiny) -> None:
    config = tiny(data={"task": "segmentation"}, loss={"type": "combined"}, model={"architecture": "compact"})
    drawn = {random_patch(config, (), seed).edits[0].key for seed in range(60)}
    assert len(drawn) > 5
    assert not drawn & {"model.dropout", "loss.label_smoothing"}


def test_a_section_that_is_off_is_made(tiny: Tiny) -> None:
    patch = Patch("f", "f", "", "", (Edit("augmentation.rotation", None, 5.0, ""),))
    treated = apply_patch(tiny(augmentation=None), patch)
    assert treated.augmentation is not None
    assert treated.augmentation.rotation == 5.0


def test_an_edit_that_is_not_allowed_is_a_clear_error(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        apply_patch(tiny(), Patch("f", "f", "", "", (Edit("training.learning_rate", 1.0, -1.0, ""),)))


def test_notes_are_not_treated(tiny: Tiny) -> None:
    config = tiny()
    assert next_patch(diagnosis(finding("rate", RATE, severity="note")), config, {}, (config,)) == (None, ())
