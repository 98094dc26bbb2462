from __future__ import annotations

import pytest
import torch

from osler.adapters.stated import read_criterion, state
from osler.errors import ConfigError


def test_losses_of_torch_state_themselves() -> None:
    settings, probabilities = read_criterion(torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.4])))
    assert settings["type"] == "bce"
    assert settings["pos_weight"] == pytest.approx((4.4,))
    assert probabilities is False
    settings, _ = read_criterion(torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])))
    assert settings == {"type": "cross_entropy", "class_weights": (1.0, 2.0)}
    assert read_criterion(torch.nn.BCELoss())[1] is True
    assert read_criterion("binary_crossentropy") == ({"type": "bce"}, True)


def test_a_loss_that_is_not_a_mean_or_not_known_has_no_floor_and_says_why() -> None:
    summed = state("binary", None, torch.nn.BCEWithLogitsLoss(reduction="sum"), {})
    assert summed.loss is None
    assert "a sum, not a mean" in summed.no_floor
    other = state("binary", None, torch.nn.HingeEmbeddingLoss(), {})
    assert other.facts["loss.type"] == "HingeEmbeddingLoss"
    assert "HingeEmbeddingLoss" in other.no_floor
    weighted = state("binary", None, torch.nn.BCEWithLogitsLoss(weight=torch.ones(2)), {})
    assert weighted.loss is None
    assert "not stated" in state("binary", None, None, {}).no_floor


def test_a_softmax_is_a_loss_of_a_binary_task_too() -> None:
    found = state("binary", None, {"type": "cross_entropy"}, {})
    assert found.loss is not None
    assert found.facts["loss.type"] == "cross_entropy"


def test_what_a_loss_reads_is_a_fact_though_it_is_the_default() -> None:
    assert state("binary", None, {"type": "focal", "alpha": 0.25}, {}).facts["loss.gamma"] == 2.0


@pytest.mark.parametrize(
    ("loss", "sections", "message"),
    [
        ({"type": "bec"}, {}, "Did you mean 'bce'"),
        ({"type": "bce", "pos_weigth": 3}, {}, "Did you mean 'loss.pos_weight'"),
        ({"type": "bce", "pos_weight": "auto"}, {}, "state the number that is in force"),
        ({"type": "dice"}, {}, "is for masks"),
        ({"type": "bce", "pos_weight": -1.0}, {}, "loss.pos_weight"),
        (None, {"training": {"learning_rte": 1e-3}}, "Did you mean 'training.learning_rate'"),
        (None, {"training": {"epochs": "many"}}, "training.epochs: is a number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_nearest_key(loss: object, sections: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        state("binary", None, loss, sections)
