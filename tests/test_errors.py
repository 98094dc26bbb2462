"""The error tree and `lookup`."""

from __future__ import annotations

import pytest

from osler.errors import ConfigError, DataError, ModelError, OslerError, RequestError, RunError, lookup


def test_every_error_a_user_can_cause_is_an_osler_error() -> None:
    assert all(issubclass(kind, OslerError) for kind in (ConfigError, DataError, ModelError, RequestError, RunError))


def test_lookup_lists_the_choices_and_the_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"model: 'resnet5' is not known\. Did you mean 'resnet50'\? Choose one of: densenet121, resnet50"
    ):
        lookup({"resnet50": 1, "densenet121": 2}, "resnet5", "model", ModelError)


def test_lookup_without_anything_near_lists_the_choices_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        lookup({"bce": 1}, "zzz", "loss.type")
    assert "Did you mean" not in str(caught.value)


def test_lookup_finds() -> None:
    assert lookup({"bce": 1}, "bce", "loss.type") == 1
