"""The card travels whole, and another schema is refused."""

from __future__ import annotations

import json

import pytest

from osler.errors import RunError
from osler.runs.card import INTENDED_USE, Card

CARD = Card(
    task="binary",
    classes=("pneumonia",),
    negative="normal",
    architecture="small",
    preparation={"size": 28},
    fingerprint="abc",
    thresholds={"pneumonia": 0.4},
    threshold_rule="youden, chosen on val",
    weights="ema",
    best_epoch=3,
    data={"source": "npz"},
)


def test_round_trip_through_json() -> None:
    assert Card.from_json(json.loads(json.dumps(CARD.to_json())), "card.json") == CARD


def test_it_says_that_it_is_not_a_medical_device() -> None:
    assert CARD.to_json()["intended_use"] == INTENDED_USE
    assert "Not a medical device" in INTENDED_USE


@pytest.mark.parametrize("value", [None, [], {"schema": "osler.card/9"}])
def test_another_schema_is_refused(value: object) -> None:
    with pytest.raises(RunError, match=r"not a card of schema osler\.card/1"):
        Card.from_json(value, "card.json")


def test_missing_fields_are_named() -> None:
    value = CARD.to_json()
    del value["thresholds"], value["task"]
    with pytest.raises(RunError, match="lacks task, thresholds"):
        Card.from_json(value, "card.json")
