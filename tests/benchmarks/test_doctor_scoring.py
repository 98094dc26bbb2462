"""Scoring: harm from seeds, which healthy runs count, advice by parameter and direction, and what is counted."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import baselines
import numpy as np
import pytest
import records
from faults import FAULTS, Advice
from harm import harm_of, harms, is_healthy
from hearing import DOCTOR, Hearing, hear_all
from opinion import Opinion, as_known_after, follows, gives, harmful
from score import FLAGGED, Judged, judge, judges, overview, tally

from osler.doctor.chart import Chart
from osler.doctor.findings import Change

RATE = "training.learning_rate"


def record(fault: str, seed: int, auc: float, arm: str = "faulty", **scores: Any) -> dict[str, Any]:
    """A kept run with this test AUC."""
    best = {"auc": auc, "ap": auc, "f1": 0.5, "skill": 0.3, "f1_floor": 0.52}
    chart = Chart.of({"train.loss": [0.7, 0.5, 0.3], "val.loss": [0.7, 0.6, 0.5]}, {"training.epochs": 3})
    label = {"task": "heart", "arm": arm, "fault": fault, "level": "severe" if arm == "faulty" else "", "seed": seed}
    return {"label": label, "scores": {"best": best, "last": best, "val_auc": auc, **scores}, "chart": chart.to_json()}


def runs(aucs: list[float], fault: str = "lr_low", arm: str = "faulty") -> dict[int, dict[str, Any]]:
    return {seed: record(fault, seed, auc, arm) for seed, auc in enumerate(aucs)}


WELL = runs([0.95, 0.96, 0.94, 0.95, 0.95], "plain", "healthy")


@pytest.mark.parametrize(
    ("aucs", "verdict"),
    [
        ([0.52, 0.50, 0.55, 0.49, 0.51], "killed"),
        ([0.95, 0.95, 0.94, 0.96, 0.95], "equivalent"),
        ([0.96, 0.98, 0.97, 0.97, 0.98], "equivalent"),
        ([0.95, 0.60, 0.95, 0.96, 0.94], "undecided"),
    ],
)
def test_harm_is_decided_by_its_interval(aucs: list[float], verdict: str) -> None:
    harm = harm_of(runs(aucs), WELL, "auc")
    assert harm.verdict == verdict
    assert harm.low <= harm.mean <= harm.high


def test_harm_is_the_share_of_the_healthy_gain_that_is_lost() -> None:
    harm = harm_of(runs([0.5, 0.51, 0.49, 0.5, 0.5]), WELL, "auc")
    assert harm.mean == pytest.approx(1.0, abs=0.01)


def test_a_fault_that_no_test_set_shows_is_unseen_and_one_seed_decides_nothing() -> None:
    assert harm_of(runs([0.5, 0.5]), WELL, "none").verdict == "unseen"
    assert harm_of(runs([0.5]), WELL, "auc").verdict == "undecided"


def test_one_seed_is_held_against_the_spread_of_eight_plain_runs() -> None:
    well = runs([0.95, 0.96, 0.94, 0.95, 0.95, 0.93, 0.96, 0.94], "plain", "healthy")
    assert harm_of(runs([0.6]), well, "auc").verdict == "killed"
    assert harm_of(runs([0.94]), well, "auc").verdict == "equivalent"
    assert harm_of(runs([0.925]), well, "auc").verdict == "undecided"


def test_of_a_few_seeds_the_wider_scatter_counts() -> None:
    well = runs([0.93, 0.94, 0.95, 0.96, 0.95, 0.94, 0.93, 0.94])
    assert harm_of(runs([0.7, 0.71, 0.7]), well, "auc").verdict == "killed"
    assert harm_of(runs([0.94, 0.95]), well, "auc").verdict == "equivalent"
    apart = harm_of(runs([0.6, 0.94]), well, "auc")
    assert apart.verdict == "undecided"
    assert apart.n == 2


def masked(fault: str, seed: int, dice: float, arm: str = "faulty", told: float | None = 0.8) -> dict[str, Any]:
    """A kept run on masks with this test Dice."""
    kept = record(fault, seed, 0.5, arm)
    best = {"dice": dice, "dice_floor": 0.05}
    return {**kept, "label": {**kept["label"], "task": "lesions"}, "scores": {"best": best, "last": best, "val_dice": told}}


def test_the_harm_of_masks_is_taken_on_dice_whatever_the_fault_harms_in_labels() -> None:
    well = {seed: masked("plain", seed, dice, "healthy") for seed, dice in enumerate([0.80, 0.82, 0.81])}
    ill = {seed: masked("tversky_low", seed, dice) for seed, dice in enumerate([0.05, 0.06, 0.04])}
    assert all(harm_of(ill, well, measure).mean == pytest.approx(1.0, abs=0.03) for measure in ("auc", "f1", "skill"))
    told = {seed: masked("leak", seed, 0.8, told=0.99) for seed in range(3)}
    assert harm_of(told, well, "honesty").verdict == "killed"
    untold = {seed: masked("lr_high", seed, 0.8, told=None) for seed in range(3)}
    assert harm_of(untold, well, "honesty").mean > 0.9
    kept = is_healthy([*well.values(), masked("slow", 1, 0.5, "healthy"), masked("dice", 1, 0.7, "healthy")])
    assert not kept["lesions", "slow", 1]
    assert kept["lesions", "dice", 1]


def test_honesty_is_how_far_validation_is_from_the_test_set() -> None:
    too_good = {seed: record("leak", seed, 0.8, val_auc=0.99) for seed in range(5)}
    assert harm_of(too_good, WELL, "honesty").verdict == "killed"


def test_a_healthy_run_that_fails_is_left_out() -> None:
    kept = is_healthy([*WELL.values(), record("slow", 1, 0.6, "healthy"), record("fast", 1, 0.93, "healthy")])
    assert not kept["heart", "slow", 1]
    assert kept["heart", "fast", 1]
    assert kept["heart", "plain", 0]


@pytest.mark.parametrize(
    ("change", "advice", "right"),
    [
        (Change(RATE, 1e-3, 1e-4, ""), Advice(RATE, "down"), True),
        (Change(RATE, 1e-3, 1e-4, ""), Advice(RATE, "up"), False),
        (Change(RATE, None, "a tenth", ""), Advice(RATE, "down"), True),
        (Change(RATE, None, "10 times as much", ""), Advice(RATE, "up"), True),
        (Change("loss.pos_weight", (50.0, 40.0), [5.0, 4.0], ""), Advice("loss.pos_weight", "down"), True),
        (Change("loss.pos_weight", 50.0, None, ""), Advice("loss.pos_weight", "off"), True),
        (Change("loss.pos_weight", None, 4.0, ""), Advice("loss.pos_weight", "up"), True),
        (Change("data.sampler", "balanced", "none", ""), Advice("data.sampler", "off"), True),
        (Change("data.sampler", "none", "balanced", ""), Advice("data.sampler", "off"), False),
        (Change("augmentation.rotation", 0, 10, ""), Advice("augmentation", "up"), True),
        (Change("training.schedule", "constant", "cosine", ""), Advice("training.schedule", "set"), True),
    ],
)
def test_advice_is_right_by_setting_and_direction(change: Change, advice: Advice, right: bool) -> None:
    assert follows(change, advice) is right


def opinion(*causes: str, changes: tuple[Change, ...] = (), grave: bool = True) -> Opinion:
    return Opinion(
        grave, tuple(frozenset({cause}) for cause in causes), (changes, *[()] * (len(causes) - 1)), (grave,) * len(causes)
    )


def test_advice_with_a_note_does_no_harm() -> None:
    fault, wrong = FAULTS["lr_high"], (Change(RATE, 0.1, 1.0, ""),)
    assert harmful(opinion("x", changes=wrong), fault)
    assert not harmful(opinion("x", changes=wrong, grave=False), fault)
    assert not gives(opinion("x", changes=wrong), fault, 1)


def test_no_advice_is_asked_for_where_the_code_is_at_fault() -> None:
    assert FAULTS["frozen"].at("mild").advice
    assert not FAULTS["frozen"].at("severe").advice
    assert FAULTS["lr_high"].at("severe") is FAULTS["lr_high"]


def test_a_tally_counts_killed_runs_whether_or_not_they_are_detected() -> None:
    harm = harm_of(runs([0.5, 0.51, 0.49, 0.5, 0.5]), WELL, "auc")
    right = opinion("learning_rate_too_low", changes=(Change(RATE, 1e-6, 1e-5, ""),))
    label = {"task": "heart", "fault": "lr_low", "level": "severe", "seed": 0, "arm": "faulty"}
    found = tally(
        [
            Judged(label, (FAULTS["lr_low"],), harm, right, 0.25),
            Judged(label, (FAULTS["lr_low"],), harm, Opinion(False)),
            Judged(label, (), None, opinion("x")),
            Judged(label, (), None, Opinion(False)),
        ]
    ).data()
    for name in ("detected killed", "cause first", "cause in three", "advice right", "healthy flagged"):
        assert (found[name]["k"], found[name]["n"]) == (1, 2), name
    assert found["detected_after"] == 0.25
    assert found["healthy flagged"]["low"] < 0.5 < found["healthy flagged"]["high"]


def test_the_epoch_of_detection_is_the_first_from_which_a_run_stays_flagged() -> None:
    kept = [record("lr_low", seed, 0.5) for seed in range(2)] + list(WELL.values())[:2]

    def late(chart: Chart) -> Opinion:
        return Opinion(len(chart) in (1, 3))

    judged = judge(kept, late, by_epoch=True)
    assert [run.epoch for run in judged if run.injections] == [1.0, 1.0]
    assert all(run.ever for run in judged)


def test_runs_heard_in_two_processes_are_heard_as_in_one() -> None:
    falling = [0.7, 0.5, 0.3]
    charts = [
        Chart.of({"train.loss": [x * scale for x in falling], "val.loss": falling}, {"training.epochs": 4})
        for scale in range(1, 6)
    ]
    runs = [Hearing(chart.to_json(), since=0.1 * number) for number, chart in enumerate(charts)]
    alone = hear_all(runs, by_epoch=True, workers=1)
    assert repr(hear_all(runs, by_epoch=True, workers=2)) == repr(alone)
    assert hear_all(runs[::-1], by_epoch=False, workers=1) == hear_all(runs, by_epoch=False, workers=1)[::-1]
    assert next(iter(alone[0])) == DOCTOR
    assert all(each.ever is None for name, each in alone[0].items() if name != DOCTOR)


def test_every_judge_has_a_row_and_a_figure_that_none_has_no_column() -> None:
    kept = [*WELL.values(), *runs([0.5, 0.52, 0.5, 0.49, 0.5]).values()]
    judged = judges(kept, by_epoch=False)
    assert {DOCTOR, *baselines.BASELINES, "random, as often"} <= judged.keys()
    assert all(len(each) == len(kept) for each in judged.values())
    header, rows = overview({name: tally(each) for name, each in judged.items()}, FLAGGED)
    assert header == ["", "detected killed", "healthy flagged"]
    assert [row[0] for row in rows] == list(judged)
    assert next(row for row in rows if row[0] == "always the learning rate")[1].endswith("5/5")


def test_what_is_known_during_a_run_lacks_its_end() -> None:
    chart = Chart.of({"val.auc": [0.5, 0.6, 0.7]}, {"stop_reason": "early stopping", "task": "binary"})
    early = as_known_after(chart, 2)
    assert "stop_reason" not in early.facts
    assert early.facts["task"] == "binary"
    assert len(early) == 2
    assert as_known_after(chart, 3) is chart


def test_harms_pair_runs_by_task_fault_and_level() -> None:
    found = harms([*WELL.values(), *runs([0.5, 0.52, 0.5, 0.49, 0.5]).values()])
    assert found["heart", "lr_low", "severe"].verdict == "killed"


# --- keeping ------------------------------------------------------------------------------------------------------------------


def test_runs_are_packed_once_and_a_cut_line_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHARTS", tmp_path / "charts")
    monkeypatch.setattr(records, "FRESH", tmp_path / "fresh")
    for seed in (1, 0):
        records.keep(record("lr_low", seed, 0.5))
    with (tmp_path / "fresh" / "heart.jsonl").open("a") as file:
        file.write('{"label": {"task": "hea')
    records.pack()
    records.keep(record("lr_low", 1, 0.9))
    kept = list(records.read_records(["heart"]))
    assert [each["label"]["seed"] for each in kept] == [0, 1]
    assert kept[1]["scores"]["best"]["auc"] == 0.5
    packed = lzma.decompress((tmp_path / "charts" / "heart.jsonl.xz").read_bytes()).decode()
    assert [json.loads(line)["label"]["seed"] for line in packed.splitlines()] == [0, 1]


# --- baselines ----------------------------------------------------------------------------------------------------------------


def healthy_chart(**columns: list[float]) -> Chart:
    epochs = 12
    falling = np.linspace(0.7, 0.2, epochs).tolist()
    rising = np.linspace(0.6, 0.9, epochs).tolist()
    base = {"train.loss": falling, "val.loss": falling, "train.accuracy": rising, "val.accuracy": [x - 0.01 for x in rising]}
    return Chart.of({**base, **columns}, {"training.epochs": epochs})


def test_the_baselines_leave_a_textbook_run_alone() -> None:
    for judge_of in (baselines.sagemaker, baselines.autotrainer, baselines.umlaut):
        assert not judge_of(healthy_chart()).flagged


@pytest.mark.parametrize(
    ("judge_of", "columns", "root"),
    [
        (baselines.sagemaker, {"train.loss": [0.7] * 12}, "not_learning"),
        (baselines.sagemaker, {"update_ratio.median": [1e-9] * 12}, "learning_rate_too_low"),
        (baselines.sagemaker, {"update_ratio.median": [1e-3] * 9 + [1e-6] * 3}, "frozen_network"),
        (baselines.sagemaker, {"val.loss": [1.0] * 12}, "overfitting"),
        (baselines.autotrainer, {"train.accuracy": [0.7] * 12, "val.accuracy": [0.7] * 12}, "learning_rate_too_low"),
        (baselines.autotrainer, {"train.accuracy": [0.7, 0.9] * 6}, "learning_rate_too_high"),
        (baselines.umlaut, {"learning_rate": [0.1] * 12}, "learning_rate_too_high"),
        (baselines.umlaut, {"val.loss": [0.7, 0.6, 0.65, *[0.5] * 9]}, "overfitting"),
    ],
)
def test_the_baselines_see_what_they_are_made_for(judge_of: Any, columns: dict[str, list[float]], root: str) -> None:
    found = judge_of(healthy_chart(**columns))
    assert found.flagged
    assert any(root in cause for cause in found.causes)


def test_a_gap_to_the_better_side_and_a_small_rise_are_no_problem_for_sagemaker() -> None:
    losses = np.linspace(0.7, 0.2, 12)
    losses[6] = 1.04 * losses[5]
    assert not baselines.sagemaker(healthy_chart(**{"train.loss": losses.tolist(), "val.loss": (0.5 * losses).tolist()})).flagged
    losses[6] = 1.06 * losses[5]
    risen = baselines.sagemaker(healthy_chart(**{"train.loss": losses.tolist(), "val.loss": (0.5 * losses).tolist()}))
    assert any("not_learning" in cause for cause in risen.causes)


def test_sagemaker_holds_a_loss_against_the_one_ten_steps_before() -> None:
    waves = {"train.loss": [0.7, 0.8, 0.6, 0.7, 0.5, 0.6], "val.loss": [0.7, 0.8, 0.6, 0.7, 0.5, 0.6]}
    assert baselines.sagemaker(Chart.of(waves, {"training.steps_per_epoch": 10})).flagged
    assert not baselines.sagemaker(Chart.of(waves, {"training.steps_per_epoch": 5})).flagged


def two_lines_of(task: str, accuracy: float, share: float = 0.1, **aucs: float) -> baselines.Opinion:
    """What two lines make of 1,000 validation samples, with this AUC of each class and this share of the first."""
    shares = {name: share if number == 0 else (1 - share) / (len(aucs) - 1) for number, name in enumerate(aucs)}
    facts = {"task": task, "prevalence.val": shares, "foreground.val": shares}
    columns = {"val.n": [1000.0], "val.accuracy": [accuracy], **{f"val.auc[{name}]": [auc] for name, auc in aucs.items()}}
    return baselines.two_lines(Chart.of(columns, facts))


@pytest.mark.parametrize(
    ("found", "causes"),
    [
        (two_lines_of("binary", 0.96, a=0.9), []),
        (two_lines_of("binary", 0.90, a=0.9), ["accuracy_is_majority"]),
        (two_lines_of("binary", 0.5, a=0.9), []),
        (two_lines_of("binary", 0.96, a=0.53), ["chance_auc"]),
        (two_lines_of("binary", 0.89, a=0.49), ["chance_auc", "accuracy_is_majority"]),
        (two_lines_of("multiclass", 0.46, share=0.1, a=0.9, b=0.9, c=0.51), ["chance_auc", "accuracy_is_majority"]),
        (two_lines_of("multiclass", 0.7, share=0.1, a=0.9, b=0.9, c=0.8), []),
        (two_lines_of("segmentation", 0.90, a=0.99), ["accuracy_is_majority"]),
        (two_lines_of("segmentation", 0.905, a=0.51), []),
        (two_lines_of("segmentation", 0.95, a=0.5), ["chance_auc"]),
        (two_lines_of("segmentation", 0.55, share=0.3, a=0.9, b=0.9), ["accuracy_is_majority"]),
    ],
)
def test_two_lines_see_the_majoritys_accuracy_and_an_auc_at_chance(found: baselines.Opinion, causes: list[str]) -> None:
    assert found.flagged is bool(causes)
    assert all(cause in named for cause, named in zip(causes, found.causes, strict=True))


def test_two_lines_say_nothing_of_a_log_that_has_neither() -> None:
    assert not baselines.two_lines(healthy_chart()).flagged
    assert not baselines.two_lines(Chart.of({}, {"task": "multiclass"})).flagged


def test_chance_flags_as_often_as_it_is_told_and_always_alike() -> None:
    charts = [healthy_chart(**{"train.loss": np.random.default_rng(seed).random(12).tolist()}) for seed in range(200)]
    coin = baselines.random_cause(0.3)
    flags = [coin(chart).flagged for chart in charts]
    assert 0.2 < np.mean(flags) < 0.4
    assert flags == [coin(chart).flagged for chart in charts]
