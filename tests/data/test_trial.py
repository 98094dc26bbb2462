"""A trial: val is divided by patient, train is thinned, and the test set is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from osler.config import Config, TrialConfig
from osler.data.load import load_data
from osler.data.trial import trial_rows
from osler.errors import DataError

Tiny = Callable[..., Config]
DATA = {"phantom": {"samples": 600, "size": 32, "findings": ["nodule"], "prevalence": 0.2, "images_per_patient": 1.6}}


def test_val_is_divided_by_patient_and_the_test_set_left_out(tiny: Tiny) -> None:
    whole, part = load_data(tiny(data=DATA).data), load_data(tiny(data={**DATA, "trial": {}}).data)
    patients = part.source.patients
    assert patients is not None
    choose, prove = part.rows["val"], part.rows["test"]
    assert sorted([*choose, *prove]) == whole.rows["val"].tolist()
    assert not set(patients[choose]) & set(patients[prove])
    assert not set(whole.rows["test"]) & set(np.concatenate(list(part.rows.values())))
    shares = [float(part.targets(split).mean()) for split in ("val", "test")]
    assert abs(shares[0] - shares[1]) < 0.06
    assert np.array_equal(part.rows["train"], whole.rows["train"])
    assert any(note.startswith("A trial") for note in part.notes)


def test_train_is_thinned_with_its_prevalence_and_val_is_not(tiny: Tiny) -> None:
    whole = load_data(tiny(data=DATA).data)
    part = load_data(tiny(data={**DATA, "trial": {"train": 0.5}}).data)
    assert len(part.rows["train"]) == pytest.approx(0.5 * len(whole.rows["train"]), abs=2)
    assert float(part.targets("train").mean()) == pytest.approx(float(whole.targets("train").mean()), abs=0.03)
    assert len(part.rows["val"]) + len(part.rows["test"]) == len(whole.rows["val"])


def test_a_seed_divides_alike_and_another_otherwise(tiny: Tiny) -> None:
    first, again, other = (load_data(tiny(data={**DATA, "trial": {"seed": seed}}).data) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_one_patient_cannot_be_divided(tiny: Tiny) -> None:
    data = load_data(tiny(data=DATA).data)
    one = replace(data.source, patients=np.full(len(data.source), "p"))
    with pytest.raises(DataError, match="single patient"):
        trial_rows(one, data.rows, TrialConfig())
