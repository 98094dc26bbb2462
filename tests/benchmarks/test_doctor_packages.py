"""Other packages: what each is fed, and what is made of its answer; the packages themselves where they are installed."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import packages
import pytest
from baselines import MEANS
from faults import FAULTS
from packages import PACKAGES

from osler.doctor.chart import Chart
from osler.doctor.facts import FACTS, Facts
from osler.doctor.faults import FAULTS as KNOWN

ROOTS = {root for fault in FAULTS.values() for root in fault.roots}
REASON = f"another tool, not needed to develop: {packages.HOW}"


def chart_of(epochs: int = 24, best: int | None = None, **columns: Any) -> Chart:
    """A run that learns, 20 steps an epoch, logged as Osler logs; its last epoch is the best where no other is said to be."""
    base = {
        "train.loss": np.geomspace(0.7, 0.1, epochs),
        "val.loss": np.geomspace(0.72, 0.12, epochs),
        "val.accuracy": np.linspace(0.6, 0.9, epochs),
        "monitor.value": np.linspace(0.6, 0.95, epochs),
        "learning_rate.start": np.full(epochs, 1e-3),
        "learning_rate": np.full(epochs, 1e-3),
        "gradient_norm.median": np.full(epochs, 0.5),
        "update_ratio.median": np.full(epochs, 1e-3),
        "step": 20.0 * np.arange(1, epochs + 1),
    }
    facts = {"training.epochs": epochs, "training.steps_per_epoch": 20, "training.monitor": "macro_auc"}
    return Chart.of({**base, **columns}, Facts.of({**facts, "best_epoch": best or epochs}, "given", strict=False))


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """Puts a module of this name in place of the package."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def level(name: str) -> SimpleNamespace:
    """A severity as each of the packages has it."""
    return SimpleNamespace(value=name, name=name.upper())


# --- tables -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", [MEANS, *(each.means for each in PACKAGES.values())], ids=["restated", *PACKAGES])
def test_what_problems_mean_are_findings_and_settings(means: Any) -> None:
    assert {cause for causes, _ in means.values() for cause in causes} <= KNOWN.keys() | ROOTS
    keys = {change.key for _, changes in means.values() for change in changes}
    assert all(key in FACTS or any(fact.startswith(f"{key}.") for fact in FACTS) for key in keys)


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda module: module == "trainpulse" or None)
    monkeypatch.setattr(packages, "version", lambda name: "9.9")
    assert list(packages.installed()) == ["trainpulse 9.9"]
    assert packages.missing() == ["sk-autod", "training-doctor", "finetune-doctor", "torchmortem"]


# --- what they are fed, and what is made of their answer ---------------------------------------------------------------------


def test_sk_autod_gets_the_epochs_with_both_losses_and_a_problem_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[Any] = []

    def diagnose(train: list[float], val: list[float]) -> Any:
        fed.append((train, val))
        told = [("LR too low", "INFO"), ("LR too high", "HIGH"), ("LR too high", "HIGH")]
        return SimpleNamespace(findings=[SimpleNamespace(detector_name=name, severity=level(how)) for name, how in told])

    stand_in(monkeypatch, "sk_autod", diagnose=diagnose)
    found = packages.sk_autod(chart_of(3, **{"train.loss": [3.0, 2.0, 1.0], "val.loss": [3.5, math.nan, 1.5]}))
    assert fed == [([3.0, 1.0], [3.5, 1.5])]
    assert found.flagged
    assert found.grave == (False, True)
    assert "learning_rate_too_high" in found.causes[1]
    assert found.changes[1][0].key == packages.RATE


def test_sk_autod_refuses_what_is_not_finite_and_what_is_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(train: list[float], val: list[float]) -> None:
        raise ValueError("Need at least 5 epochs of data")

    stand_in(monkeypatch, "sk_autod", diagnose=refuse)
    assert not packages.sk_autod(chart_of(3)).flagged
    broken = packages.sk_autod(chart_of(6, **{"train.loss": [0.7, 0.6, math.inf, 0.5, 0.4, 0.3]}))
    assert broken.flagged
    assert "non_finite" in broken.causes[0]


def test_information_alone_flags_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [SimpleNamespace(detector_name="plateau", severity=level("info"), evidence=[SimpleNamespace(observation="flat")])]
    stand_in(monkeypatch, "training_doctor", Doctor=lambda: SimpleNamespace(log=lambda step, **figures: told))
    found = packages.training_doctor(chart_of())
    assert not found.flagged
    assert found.grave == (False,)


def test_training_doctor_is_logged_to_by_epoch_under_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[Any] = []

    def log(step: int, **figures: float) -> list[Any]:
        fed.append((step, figures))
        seen = [SimpleNamespace(observation="Vanishing gradients (<0.01): 40/100 steps")]
        return [SimpleNamespace(detector_name="gradient_instability", severity=level("warning"), evidence=seen)]

    stand_in(monkeypatch, "training_doctor", Doctor=lambda: SimpleNamespace(log=log))
    found = packages.training_doctor(chart_of(2, **{"gradient_norm.median": [0.5, math.nan]}))
    assert [step for step, _ in fed] == [20, 40]
    assert fed[0][1].keys() == {"loss", "lr", "grad_norm", "eval_loss"}
    assert fed[1][1].keys() == {"loss", "lr", "eval_loss"}
    assert found.causes == (packages.TRAINING_DOCTOR["vanishing gradients"][0],)


def test_trainpulse_gets_the_rate_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[tuple[str, int, float]] = []
    alerts = [SimpleNamespace(detector="gradient", message="Gradient explosion: norm=900", severity=level("critical"))]
    monitor = SimpleNamespace(log=lambda *each: fed.append(each), report=lambda: SimpleNamespace(alerts=alerts))
    stand_in(monkeypatch, "trainpulse", Monitor=lambda: monitor)
    rates = {"learning_rate.start": [1e-5, 1e-3], "learning_rate": [1e-3, 0.0], "train.loss": [0.7, math.inf]}
    found = packages.trainpulse(chart_of(2, **rates))
    steps = np.array([rate for name, _, rate in fed if name == "learning_rate"])
    assert len(steps) == 22  # to 0 there is no way by ratios: the first and the last of that epoch alone
    assert (steps[1:20] / steps[:19]).max() < 1.3
    assert math.isnan(next(value for name, step, value in fed if name == "loss" and step == 40))
    assert "exploding_gradients" in found.causes[0]


def test_finetune_doctor_gets_the_state_that_a_trainer_leaves() -> None:
    state = packages.trainer_state(chart_of(3, **{"train.loss": [0.7, math.inf, math.nan]}))
    training = [row for row in state["log_history"] if "learning_rate" in row]
    evaluation = [row for row in state["log_history"] if "eval_loss" in row]
    assert [row["step"] for row in training] == [row["step"] for row in evaluation] == [20, 40, 60]
    assert training[0]["loss"] == 0.7
    assert math.isnan(training[1]["loss"])
    assert "loss" not in training[2]
    assert (state["best_metric"], state["best_global_step"]) == (evaluation[2]["eval_macro_auc"], 60)
    assert (state["global_step"], state["max_steps"]) == (60, 60)


# --- the packages themselves -------------------------------------------------------------------------------------------------

GONE = np.geomspace(0.5, 50.0, 24)
JUMP = [1e-3] * 12 + [1.0] * 12


@pytest.mark.parametrize(
    ("name", "columns", "cause"),
    [
        ("sk-autod", {"val.loss": np.geomspace(0.7, 2.0, 24)}, "overfitting"),
        ("sk-autod", {"train.loss": [*np.full(12, 0.7), *np.full(12, math.inf)]}, "non_finite"),
        ("training-doctor", {"train.loss": [*np.full(12, 0.7), *np.full(12, math.inf)]}, "non_finite"),
        ("training-doctor", {"gradient_norm.median": np.full(24, 500.0)}, "exploding_gradients"),
        ("trainpulse", {"gradient_norm.median": np.full(24, 500.0)}, "exploding_gradients"),
        ("trainpulse", {"learning_rate.start": JUMP, "learning_rate": JUMP}, "late_collapse"),
        ("finetune-doctor", {"monitor.value": [*np.linspace(0.6, 0.95, 12), *np.linspace(0.95, 0.6, 12)]}, "overfitting"),
        ("finetune-doctor", {"train.loss": np.full(24, 0.693)}, "not_learning"),
        ("torchmortem", {"train.loss": GONE, "val.loss": GONE}, "diverging_loss"),
        ("torchmortem", {"update_ratio.median": np.full(24, 1e-7)}, "learning_rate_too_low"),
    ],
)  # fmt: skip
def test_an_installed_package_names_what_it_is_made_for(name: str, columns: dict[str, Any], cause: str) -> None:
    package = PACKAGES[name]
    pytest.importorskip(package.module, reason=REASON)
    found = package.opinion(chart_of(best=12, **columns))
    assert found.flagged
    assert any(cause in causes for causes in found.causes)


@pytest.mark.parametrize("name", PACKAGES)
def test_an_installed_package_leaves_a_textbook_run_alone_and_stands_any_chart(name: str) -> None:
    package = PACKAGES[name]
    pytest.importorskip(package.module, reason=REASON)
    assert not package.opinion(chart_of()).flagged
    for chart in (Chart.of({}), Chart.of({"train.loss": [0.5]}), chart_of(1), chart_of(30, **{"train.loss": np.zeros(30)})):
        package.opinion(chart)


def test_the_names_of_sk_autods_detectors_are_known() -> None:
    detectors = pytest.importorskip("sk_autod.detectors", reason=REASON)
    names = {getattr(detectors, each).name for each in detectors.__all__} - {"BaseDetector"}
    assert names == packages.SK_AUTOD.keys() - {"not finite"}
