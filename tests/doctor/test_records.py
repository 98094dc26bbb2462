"""Four records of real runs, read from their numbers alone: what must be found, and what must not be advised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from osler.doctor.command import diagnose_sources
from osler.doctor.findings import Diagnosis, Finding

# A cancer classifier, five epochs of a hundred. Declared: 18.5 % cancer, pos_weight 2.0.
A = """
| epoch | train loss | val loss | train acc | val acc | train AUC | val AUC | precision | recall | F1 | LR |
|--|--|--|--|--|--|--|--|--|--|--|
| 1 | 1.2962 | 1.2599 | 59.58 % | 10.13 % | 0.5034 | 0.4114 | 0.1013 | 1.0000 | 0.1840 | 0.001000 |
| 2 | 1.2574 | 1.2604 | 41.76 % | 89.87 % | 0.4947 | 0.4820 | 0.0000 | 0.0000 | 0.0000 | 0.000999 |
| 3 | 1.2673 | 1.2593 | 64.06 % | 10.13 % | 0.5139 | 0.5493 | 0.1013 | 1.0000 | 0.1840 | 0.000998 |
| 4 | 1.2609 | 1.2599 | 32.18 % | 10.13 % | 0.4817 | 0.5282 | 0.1013 | 1.0000 | 0.1840 | 0.000996 |
| 5 | 1.2593 | 1.2599 | 10.71 % | 10.13 % | 0.4744 | 0.5000 | 0.1013 | 1.0000 | 0.1840 | 0.000994 |
"""
A_FACTS = ("task=binary", "samples.set=10000", "prevalence.set=18.5 %", "loss.type=bce", "loss.pos_weight=2.0")
A_PLAN = ("training.epochs=100", "training.learning_rate=1e-3", "training.schedule=cosine", "model.architecture=resnet50")

# A lesion segmentation of which only ranges are recorded: their ends, over the ten epochs of the warm-up.
B = """
| epoch | train loss | val loss | train dice | val dice | LR |
|--|--|--|--|--|--|
| 1 | 0.84 | 0.90 | 0.03 | 0.06 | 0.00004 |
| 10 | 0.82 | 0.85 | 0.06 | 0.10 | 0.0002 |
"""
B_FACTS = (
    "task=segmentation", "loss.type=bce + focal + dice + tversky", "loss.tversky_beta=0.3", "training.warmup_epochs=10",
    "training.learning_rate=0.0002",
)  # fmt: skip

C = """
| epoch | train loss |
|--|--|
| 1 | 0.42 |
| 2 | 0.00 |
"""
C_CURED = """
| epoch | train loss | val f1 |
|--|--|--|
| 1 | 0.42 | 0.15 |
| 2 | 0.35 | 0.23 |
| 3 | 0.30 | 0.31 |
"""

E_FOCAL = """
| epoch | val auc | val f1 |
|--|--|--|
| 1 | 0.70 | 0.022 |
| 2 | 0.73 | 0.000 |
| 3 | 0.7486 | 0.002 |
"""
E_WEIGHTED = """
| epoch | val auc | val f1 |
|--|--|--|
| 10 | 0.7510 | 0.097 |
"""
E_PLAIN = """
| epoch | val auc | val f1 |
|--|--|--|
| 10 | 0.7734 | 0.086 |
"""
E_TASK = ("task=multilabel", "classes=14")


@dataclass(frozen=True)
class Record:
    """A record's numbers, and the diagnosis that they call for.

    Attributes:
        found: ids that must be among findings or symptoms.
        first: ids of which one must be the first finding; empty: none is asked.
        changed: keys that must be prescribed, with the side of the old value on which the new one must lie.
        untouched: keys that must not be prescribed, up or down.
        absent: ids that must not be found.
    """

    table: str
    facts: tuple[str, ...]
    found: frozenset[str]
    first: frozenset[str] = frozenset()
    changed: tuple[tuple[str, str], ...] = ()
    untouched: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()


ANOTHER_NETWORK = ("model.architecture", "model.pretrained", "training.epochs")
RECORDS = {
    "A": Record(
        A, A_FACTS + A_PLAN,
        frozenset({
            "not_learning", "single_class_prediction", "alternating_prediction", "chance_auc", "stuck_loss", "best_from_noise",
            "weight_not_in_force", "declared_not_loaded",
        }),
        frozenset({"not_learning"}), (("training.learning_rate", "down"),),
        ("loss.pos_weight", "loss.type", "loss.alpha", *ANOTHER_NETWORK),
        frozenset({"overfitting", "threshold_mismatch", "pos_weight_too_large", "frozen_network"}),
    ),
    "B": Record(
        B, B_FACTS,
        frozenset({"tversky_beta_low", "learning_rate_too_low", "warmup_too_long", "overlap_terms_weak", "low_overlap"}),
        frozenset({"tversky_beta_low"}),
        (("loss.tversky_beta", "up"), ("training.learning_rate", "up"), ("training.warmup_epochs", "down")),
        ("training.epochs",), frozenset({"not_learning", "overfitting"}),
    ),
    "C": Record(C, ("task=segmentation",), frozenset({"loss_at_zero"}), frozenset({"loss_at_zero"}), (), ("training.epochs",)),
    "E, focal": Record(
        E_FOCAL, (*E_TASK, "loss.type=focal", "loss.alpha=0.25", "loss.gamma=2"),
        frozenset({"focal_alpha_low", "threshold_mismatch"}), frozenset({"focal_alpha_low", "threshold_mismatch"}),
        (("loss.alpha", "up"),), ("training.learning_rate", *ANOTHER_NETWORK), frozenset({"not_learning", "chance_auc"}),
    ),
    "E, weighted and sampled": Record(
        E_WEIGHTED, (*E_TASK, "loss.type=bce", "loss.pos_weight=auto", "data.sampler=weighted"),
        frozenset({"double_correction"}), frozenset({"double_correction"}), (), ("training.learning_rate", *ANOTHER_NETWORK),
        frozenset({"sampler_starves_findings"}),
    ),
    "E, as the fixed sampler draws": Record(
        E_WEIGHTED,
        (*E_TASK, "loss.type=bce", "data.sampler=weighted", "training.batch_size=32", "prevalence.drawn.No Finding=0.98",
         "prevalence.train.No Finding=0.54"),
        frozenset({"sampler_starves_findings"}), frozenset({"sampler_starves_findings"}), (),
        ("loss.pos_weight", "training.learning_rate", *ANOTHER_NETWORK),
    ),
}  # fmt: skip


def examine(record: Record, folder: Path) -> Diagnosis:
    path = folder / "record.md"
    path.write_text(record.table)
    (run,) = diagnose_sources([path], record.facts).runs
    return run


def every(run: Diagnosis) -> Iterator[Finding]:
    for finding in run.findings:
        yield finding
        yield from finding.symptoms


def test_the_records_facts_are_known(tmp_path: Path) -> None:
    for record in RECORDS.values():
        assert examine(record, tmp_path).verdict == "findings"


@pytest.mark.parametrize("name", RECORDS)
def test_what_must_be_found(name: str, tmp_path: Path) -> None:
    record, run = RECORDS[name], examine(RECORDS[name], tmp_path)
    found = {finding.id for finding in every(run)}
    assert record.found <= found
    assert not record.absent & found
    assert not record.first or run.findings[0].id in record.first


@pytest.mark.parametrize("name", RECORDS)
def test_what_must_and_must_not_be_advised(name: str, tmp_path: Path) -> None:
    record, run = RECORDS[name], examine(RECORDS[name], tmp_path)
    changes = {change.key: change for finding in every(run) for change in finding.signs.changes}
    assert not set(record.untouched) & set(changes)
    for key, side in record.changed:
        change = changes[key]
        assert change.after == "auto" or (change.after > change.before) == (side == "up")


def test_record_a_in_numbers(tmp_path: Path) -> None:
    run = examine(RECORDS["A"], tmp_path)
    by_id = {finding.id: finding for finding in every(run)}
    weight = by_id["weight_not_in_force"].signs.evidence[0]
    assert weight.value == pytest.approx(9.07, abs=0.01)
    assert weight.expected == 2.0
    share = by_id["declared_not_loaded"].signs.evidence[0]
    assert share.value == pytest.approx(0.1013)
    assert share.expected == pytest.approx(0.185)
    assert share.low < 0.1013 < share.high < 0.185
    f1 = next(item for item in by_id["single_class_prediction"].signs.evidence if item.quantity == "val.f1" and item.epoch == 1)
    assert f1.value == pytest.approx(f1.expected, abs=5e-5)
    assert by_id["best_from_noise"].signs.epochs == (3.0,)
    (change,) = by_id["not_learning"].signs.changes
    assert (change.key, change.before, change.after) == ("training.learning_rate", 1e-3, 1e-4)
    assert len(by_id["not_learning"].signs.actions) == 3  # one batch, inputs and labels, weights that move


def test_record_a_leaves_open_what_it_cannot_tell(tmp_path: Path) -> None:
    first = examine(RECORDS["A"], tmp_path).findings[0]
    states = {each.id: each.state for each in first.alternatives}
    assert {
        states[id] for id in ("learning_rate_too_high", "frozen_network", "input_out_of_range", "labels of other samples")
    } == {"open"}


def test_record_a_without_epoch_two_tells_no_weight(tmp_path: Path) -> None:
    """With all-positive epochs only, a probability could make up for any weight: the doctor abstains."""
    rows = [line for line in A.strip().splitlines() if not line.startswith("| 2 ")]
    run = examine(Record("\n".join(rows), A_FACTS, frozenset()), tmp_path)
    assert "weight_not_in_force" in {each.id for each in run.not_assessed}
    assert "not_learning" in {finding.id for finding in run.findings}


def test_record_b_doses(tmp_path: Path) -> None:
    changes = {change.key: change.after for finding in every(examine(RECORDS["B"], tmp_path)) for change in finding.signs.changes}
    assert 0.5 <= changes["loss.tversky_beta"] <= 0.7
    assert 5e-4 <= changes["training.learning_rate"] <= 1e-3
    assert changes["training.warmup_epochs"] == 5


def test_record_c_asks_for_scores_and_gives_the_mixture(tmp_path: Path) -> None:
    first = examine(RECORDS["C"], tmp_path).findings[0]
    weights = next(change.after for change in first.signs.changes if change.key == "loss.weights")
    assert weights == {"bce": 0.4, "dice": 0.4, "focal": 0.2}
    assert any("F1" in action for action in first.signs.actions)


def test_record_c_cured_is_not_flagged(tmp_path: Path) -> None:
    assert not examine(Record(C_CURED, ("task=segmentation",), frozenset()), tmp_path).flagged


def test_record_c_with_the_predicted_foreground(tmp_path: Path) -> None:
    table = "| epoch | train loss | val foreground predicted | val foreground true |\n|--|--|--|--|\n"
    table += "| 1 | 0.42 | 0.02 | 0.1234 |\n| 2 | 0.00 | 0.000012 | 0.1234 |\n| 3 | 0.00 | 0.000010 | 0.1234 |\n"
    first = examine(Record(table, ("task=segmentation",), frozenset()), tmp_path).findings[0]
    assert first.id == "empty_masks"
    assert "loss_at_zero" in {each.id for each in first.symptoms}


def test_record_e_counts_what_is_drawn(tmp_path: Path) -> None:
    first = examine(RECORDS["E, as the fixed sampler draws"], tmp_path).findings[0]
    assert first.severity == "critical"
    assert "0.64" in first.signs.summary  # findings in a batch of 32 ...
    assert "14.72" in first.signs.summary  # ... where an unweighted draw has so many


def test_record_e_plain_bce_is_not_flagged(tmp_path: Path) -> None:
    assert not examine(Record(E_PLAIN, (*E_TASK, "loss.type=bce", "data.sampler=none"), frozenset()), tmp_path).flagged


def test_record_e_focal_says_that_the_ranking_is_sound(tmp_path: Path) -> None:
    first = examine(RECORDS["E, focal"], tmp_path).findings[0]
    assert first.signs.changes[0].key == "evaluation.threshold"
    assert any("ranking" in text for text in first.harmful)
