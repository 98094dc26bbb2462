"""The task's figures, against arithmetic done by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from osler.config import Config
from osler.data.batches import Batch
from osler.data.load import load_data
from osler.losses import LossTerms
from osler.tasks.classification import Classification, LogitOutputs, build_classification
from osler.train.resolve import resolve


@pytest.fixture
def task(tiny: Callable[..., Config]) -> Classification:
    config = tiny(data={"phantom": {"findings": ["cardiomegaly", "effusion"], "samples": 200}})
    data = load_data(config.data)
    return build_classification(resolve(config, data), data)


def batch_of(targets: torch.Tensor, rows: np.ndarray) -> Batch:
    return Batch(torch.zeros(len(rows), 1, 8, 8), targets, rows, rows, 0)


def outputs_of(task: Classification, logits: torch.Tensor, targets: torch.Tensor, batches: int) -> dict[str, np.ndarray]:
    outputs = task.outputs(training=False)
    rows = np.arange(len(logits))
    for part in np.array_split(rows, batches):
        outputs.add(logits[part], batch_of(targets[part], part), task.loss(logits[part], targets[part]))
    return outputs.gathered()


def test_the_loss_is_the_mean_over_known_targets_however_it_was_batched(task: Classification) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 2), (torch.rand(50, 2) < 0.4).float()
    targets[::7, 1] = torch.nan
    known = ~torch.isnan(targets)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], targets[known])
    figures = [task.figures(outputs_of(task, logits, targets, batches)) for batches in (1, 7)]
    for found in figures:
        assert found["loss"]["value"] == pytest.approx(float(expected), rel=1e-6)
        assert found["n"] == 50
    assert figures[0]["loss"]["se"] == pytest.approx(figures[1]["loss"]["se"])


def test_the_standard_error_is_that_of_repeated_samples(task: Classification) -> None:
    rng = torch.Generator().manual_seed(1)
    means, errors = [], []
    for _ in range(200):
        logits = torch.randn(60, 2, generator=rng)
        targets = (torch.rand(60, 2, generator=rng) < 0.4).float()
        targets[torch.rand(60, 2, generator=rng) < 0.3] = torch.nan
        loss = task.figures(outputs_of(task, logits, targets, 1))["loss"]
        means.append(loss["value"])
        errors.append(loss["se"])
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.2)


def test_skill_of_the_best_constant_is_zero(task: Classification) -> None:
    targets = torch.zeros(40, 2)
    targets[:10, 0], targets[:4, 1] = 1, 1
    constant = torch.logit(torch.tensor([0.25, 0.1])).expand(40, 2)
    figures = task.figures(outputs_of(task, constant, targets, 3))
    assert figures["skill"] == pytest.approx(0, abs=1e-6)
    assert figures["macro"]["auc"] == 0.5


def test_undefined_figures_say_why(task: Classification) -> None:
    targets = torch.zeros(10, 2)
    targets[:3, 0] = 1
    figures = task.figures(outputs_of(task, torch.full((10, 2), -3.0), targets, 1))
    absent = figures["classes"][task.classes[1]]
    assert np.isnan(absent["auc"])
    assert absent["reasons"]["auc"] == "needs a positive and a negative sample"
    assert absent["reasons"]["precision"] == "no sample is called positive"
    assert "auc" not in figures["classes"][task.classes[0]]["reasons"]
    assert figures["macro"]["classes_scored"] == 1


def test_monitored_figures_are_higher_when_better(task: Classification) -> None:
    figures = {"loss": {"value": 0.3}, "accuracy": 0.8, "macro": {"auc": 0.9, "ap": 0.5, "f1": 0.4}}
    assert task.monitored("loss", figures) == -0.3
    assert task.monitored("accuracy", figures) == 0.8
    assert task.monitored("macro_auc", figures) == 0.9


def test_outputs_survive_a_checkpoint() -> None:
    outputs, again = LogitOutputs("multilabel"), LogitOutputs("multilabel")
    terms = LossTerms(torch.arange(3.0), torch.ones(3))
    outputs.add(torch.ones(3, 2), batch_of(torch.zeros(3, 2), np.arange(3)), terms)
    again.load(outputs.state(), torch.device("cpu"))
    for name, array in outputs.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
    again.load(LogitOutputs("multilabel").state(), torch.device("cpu"))
    assert again.rows[0].tolist() == [0, 1, 2]


def test_the_means_count_known_cells_only(task: Classification) -> None:
    targets = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    means = task.means(torch.zeros(2, 2), batch_of(targets, np.arange(2)))
    assert means.predicted.tolist() == [1.0, 0.5]
    assert means.target.tolist() == [1.0, 1.0]
    assert means.known.tolist() == [2, 1]
