"""The parts of a look: which images are chosen, likeness, doubts, and a file's pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.config import Config
from osler.data.load import load_data
from osler.imaging.read import RawImage
from osler.look.choice import choose, label_groups, label_text
from osler.look.doubts import find_doubts
from osler.look.findings import inverted_places
from osler.look.pixels import as_file
from osler.look.tones import Tones, _measure, likeness


def test_the_choice_holds_every_split_and_class_and_repeats_itself(tiny: Callable[..., Config]) -> None:
    data = load_data(tiny(data={"phantom": {"samples": 900, "findings": ["nodule", "effusion"], "prevalence": [0.02, 0.3]}}).data)
    chosen = choose(data, 200, 1)
    np.testing.assert_array_equal(chosen.rows, choose(data, 200, 1).rows)
    assert not np.array_equal(chosen.rows, choose(data, 200, 2).rows)
    assert 200 <= len(chosen) <= 260
    assert len(np.unique(chosen.rows)) == len(chosen)
    for name, rows in data.rows.items():
        assert set(chosen.rows[chosen.splits == name]) <= set(rows.tolist())
        assert (chosen.splits == name).sum() >= 50
    train = chosen.rows[chosen.splits == "train"]
    rare = label_groups(data.source, data.source.targets[train])["nodule"].sum()
    assert rare == min(data.counts("train").positives[0], max(rare, 10))


def test_labels_are_written_as_a_person_would(tiny: Callable[..., Config]) -> None:
    data = load_data(tiny(data={"phantom": {"findings": ["nodule", "effusion"]}}).data)
    targets = data.source.targets
    for row, values in enumerate([(1, 1), (0, 0), (np.nan, np.nan), (1, np.nan)]):
        targets[row] = values
    said = [label_text(data.source, row) for row in range(4)]
    assert said == ["nodule, effusion", "(no finding)", "(unknown)", "nodule; unknown: effusion"]


@pytest.mark.parametrize("share", [0.05, 0.45])
def test_negatives_have_the_opposite_sign_however_many_they_are(share: float) -> None:
    rng = np.random.default_rng(0)
    thumbs = rng.normal(size=100) + 0.4 * rng.normal(size=(200, 100))
    thumbs -= thumbs.mean(axis=1, keepdims=True)
    thumbs /= np.linalg.norm(thumbs, axis=1, keepdims=True)
    inverted = np.arange(200) < 200 * share
    thumbs[inverted] *= -1
    like = likeness(thumbs)
    assert (like[inverted] < -0.5).all()
    assert (like[~inverted] > 0.5).all()
    np.testing.assert_array_equal(inverted_places(like), np.flatnonzero(inverted))


def test_images_without_anything_in_common_are_not_called_inverted() -> None:
    thumbs = np.random.default_rng(1).normal(size=(300, 100))
    assert not len(inverted_places(likeness(thumbs / np.linalg.norm(thumbs, axis=1, keepdims=True))))


class TestDoubts:
    def thumbs(self, skill: float, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(2)
        labels = (np.arange(n) % 3 == 0).astype(float)
        return rng.normal(size=(n, 30)) + skill * labels[:, None] * (np.arange(30) < 4), labels

    def test_swapped_labels_lead(self) -> None:
        thumbs, labels = self.thumbs(2.0)
        labels[[9, 100, 200]] = 1 - labels[[9, 100, 200]]
        found = find_doubts(thumbs, labels, None)
        assert found is not None
        assert found.told
        assert {9, 100, 200} <= set(found.places[:6].tolist())
        assert (np.diff(found.against) <= 0).all()

    def test_chance_tells_nothing(self) -> None:
        found = find_doubts(*self.thumbs(0.0), None)
        assert found is not None
        assert not found.told

    def test_a_patient_seen_twice_is_never_judged_by_himself(self) -> None:
        rng = np.random.default_rng(3)
        people = rng.normal(size=(100, 30))
        labels = np.repeat(rng.random(100) < 0.5, 4).astype(float)
        thumbs = np.repeat(people, 4, axis=0) + 0.01 * rng.normal(size=(400, 30))
        patients = np.repeat(np.arange(100), 4).astype(str)
        alone, together = find_doubts(thumbs, labels, None), find_doubts(thumbs, labels, patients)
        assert alone is not None
        assert together is not None
        assert together.auc.low < 0.5 < alone.auc.value
        assert together.auc.value < alone.auc.value

    def test_few_and_unknown_labels(self) -> None:
        thumbs, labels = self.thumbs(2.0)
        labels[labels == 1] = np.nan
        assert find_doubts(thumbs, labels, None) is None


def test_tones_of_16_bits_are_those_of_bytes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 30, 30)).astype(np.uint8)
    images[0], images[1] = 0, 255
    plain, deep = _measure(images), _measure(images.astype(np.uint16) * 257)
    for name in Tones.__dataclass_fields__:
        np.testing.assert_allclose(getattr(deep, name), getattr(plain, name), atol=1e-6)


def test_what_lies_within_one_step_of_bytes_is_no_constant_image() -> None:
    faint = (30000 + np.arange(100, dtype=np.uint16)).reshape(1, 1, 10, 10)
    assert _measure(faint).sd[0] == pytest.approx(np.arange(100).std() / 257)
    assert np.linalg.norm(_measure(faint).thumbs[0]) == pytest.approx(1)
    assert _measure(np.full((1, 1, 10, 10), 30000, np.uint16)).sd[0] == 0


def test_a_files_pixels_are_shown_as_they_are_stored() -> None:
    image, said = as_file(RawImage(np.array([[0, 7], [9, 255]], np.uint8), 0, 255, inverted=True))
    assert image.tolist() == [[[0, 7], [9, 255]]]
    assert said == "2 × 2, inverted"
    colour, _ = as_file(RawImage(np.zeros((2, 3, 3), np.uint8), 0, 255))
    assert colour.shape == (3, 2, 3)
    deep, said = as_file(RawImage(np.array([[-1.0, 1.0]], np.float32), np.nan, np.nan))
    assert deep.tolist() == [[[0, 255]]]
    assert said == "2 × 1, float32 -1–1"
    flat, _ = as_file(RawImage(np.full((2, 2), 4000, np.uint16), 0, 65535))
    assert flat.max() == 0
