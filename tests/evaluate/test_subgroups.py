"""Subgroups: which columns divide the samples, and how their values are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osler.errors import RequestError
from osler.evaluate.subgroups import group_by_age, groupings


def test_auto_takes_columns_of_two_to_eight_values_and_ages() -> None:
    table = pd.DataFrame(
        {
            "sex": ["F", "M"] * 10,
            "constant": ["x"] * 20,
            "serial": [str(number) for number in range(20)],
            "Patient Age": np.linspace(3, 90, 20),
            "image": range(20),
        }
    )
    assert [one.column for one in groupings(table, "auto")] == ["sex", "Patient Age"]


def test_auto_without_metadata_is_empty() -> None:
    assert groupings(None, "auto") == []
    assert groupings(pd.DataFrame(index=range(3)), "auto") == []


def test_blank_and_missing_values_are_unknown_and_come_last() -> None:
    table = pd.DataFrame({"view": ["PA", None, "AP", " ", "PA"]})
    (one,) = groupings(table, ["view"])
    assert one.order == ("AP", "PA", "unknown")
    assert one.names.tolist() == ["PA", "unknown", "AP", "unknown", "PA"]


def test_whole_numbers_lose_the_point_that_missing_values_gave_them() -> None:
    (one,) = groupings(pd.DataFrame({"scanner": [1.0, 2.0, np.nan]}), ["scanner"])
    assert one.order == ("1", "2", "unknown")


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "0–17"), (17.9, "0–17"), (18, "18–39"), (39, "18–39"), (59, "40–59"), (79.5, "60–79"), (80, "80 and over")],
)
def test_ages_fall_into_bands(age: float, band: str) -> None:
    assert group_by_age(pd.Series([age])).tolist() == [band]


def test_dicom_ages_and_impossible_ones() -> None:
    found = group_by_age(pd.Series(["058Y", "006M", "003W", "010D", "414", "old", "", None, "-3"]))
    assert found.fillna("?").tolist() == ["40–59", "0–17", "0–17", "0–17", "?", "?", "?", "?", "?"]


def test_bands_come_in_order_of_age() -> None:
    (one,) = groupings(pd.DataFrame({"age": [85, 3, 30, 70, None]}), "auto")
    assert one.order == ("0–17", "18–39", "60–79", "80 and over", "unknown")


def test_columns_with_age_inside_another_word_are_no_ages() -> None:
    table = pd.DataFrame({"image_stage": ["1", "2"] * 3, "dosage": ["1", "2"] * 3, "patient_age": ["30", "60"] * 3})
    orders = {one.column: one.order for one in groupings(table, "auto")}
    assert orders == {"image_stage": ("1", "2"), "dosage": ("1", "2"), "patient_age": ("18–39", "60–79")}


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    table = pd.DataFrame({"sex": ["F", "M"], "view": ["PA", "AP"]})
    with pytest.raises(RequestError, match=r"'sax' \(did you mean 'sex'\?\) and no column 'scanner'.*sex, view"):
        groupings(table, ["sax", "scanner"])
    with pytest.raises(RequestError, match="no metadata columns at all"):
        groupings(None, ["sex"])
