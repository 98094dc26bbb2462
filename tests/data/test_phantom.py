"""The phantom: same in every order, honest labels, masks where the labels say, and a task that can be learned."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from osler.config import FINDINGS, DataConfig, PhantomConfig
from osler.data.phantom import Phantom, PhantomImages, draw_phantom, phantom_samples
from osler.data.phantom_people import STAYS
from osler.errors import ConfigError

SOME = PhantomConfig(samples=24, size=48, findings=FINDINGS, prevalence=0.3, seed=3)


def images_of(config: PhantomConfig) -> PhantomImages:
    images = phantom_samples(DataConfig(phantom=config)).images
    assert isinstance(images, PhantomImages)
    return images


# --- the same image whenever and wherever it is drawn -----------------------------------------------------------------------


def test_rows_are_the_same_in_any_order_and_after_pickling() -> None:
    images = images_of(SOME)
    there = pickle.loads(pickle.dumps(images))
    rows = np.array([7, 0, 19])
    taken = images.take(rows)
    assert len(taken) == 3
    for place, row in enumerate(rows):
        expected = images.read(row).pixels
        np.testing.assert_array_equal(there.read(row).pixels, expected)
        np.testing.assert_array_equal(taken.read(place).pixels, expected)
        np.testing.assert_array_equal(taken.mask(place), images.mask(row))
        assert taken.identity(place) == images.identity(row)


def test_a_longer_set_starts_with_the_shorter_one() -> None:
    short, long = (
        phantom_samples(DataConfig(phantom=SOME)),
        phantom_samples(DataConfig(phantom=SOME.model_copy(update={"samples": 60}))),
    )
    np.testing.assert_array_equal(long.targets[:24], short.targets)
    np.testing.assert_array_equal(long.ids[:24], short.ids)
    assert [long.images.identity(row) for row in range(24)] == [short.images.identity(row) for row in range(24)]
    np.testing.assert_array_equal(long.images.read(23).pixels, short.images.read(23).pixels)


def test_images_without_a_finding_do_not_know_that_it_may_occur() -> None:
    few = images_of(SOME.model_copy(update={"findings": ("effusion",)}))
    all_of_them = images_of(SOME)
    others = [index for index, name in enumerate(FINDINGS) if name != "effusion"]
    rows = np.flatnonzero(~all_of_them.present[:, others].any(1))
    assert len(rows) > 0
    for row in rows:
        np.testing.assert_array_equal(few.read(row).pixels, all_of_them.read(row).pixels)
        assert few.identity(row) == all_of_them.identity(row)


def test_identity_follows_what_decides_the_pixels() -> None:
    images = images_of(SOME)
    assert len({images.identity(row) for row in range(len(images))}) == len(images)
    for change in ({"size": 64}, {"difficulty": 0.5}, {"seed": 4}):
        assert images_of(SOME.model_copy(update=change)).identity(0) != images.identity(0)
    flipped = replace(images, present=~images.present)
    assert flipped.identity(0) != images.identity(0)


def test_another_seed_draws_another_set_and_any_integer_is_a_seed() -> None:
    first, second = images_of(SOME), images_of(SOME.model_copy(update={"seed": -1}))
    assert (first.present != second.present).any()
    assert (first.read(0).pixels != second.read(0).pixels).mean() > 0.5


# --- what the set says of itself --------------------------------------------------------------------------------------------


def test_a_drawn_phantom_holds_what_its_source_draws() -> None:
    phantom = draw_phantom(SOME)
    assert isinstance(phantom, Phantom)
    assert len(phantom) == len(phantom.metadata) == len(phantom.patients) == 24
    assert phantom.images.shape == (24, 48, 48)
    assert phantom.images.dtype == np.uint8
    assert phantom.targets.dtype == np.float32
    np.testing.assert_array_equal(phantom.images[11], phantom.source.read(11).pixels)
    assert list(phantom.metadata.columns) == ["sex", "age", "view"]
    assert set(phantom.metadata["sex"]) <= {"F", "M"}
    assert phantom.metadata["age"].between(20, 90).all()


def test_images_state_their_range_and_size() -> None:
    images = images_of(SOME)
    raw, info = images.read(0), images.probe(0)
    assert (raw.low, raw.high) == (0, 255)
    assert (info.width, info.height, info.channels, info.bits, info.mode) == (48, 48, 1, 8, "gray")


def test_samples_are_labelled_synthetic_and_report_prevalence() -> None:
    samples = phantom_samples(DataConfig(phantom=SOME))
    notes = " ".join(samples.notes)
    assert "Synthetic" in notes
    assert f"mass {int(samples.targets[:, 1].sum())} (" in notes
    assert samples.ids[0] == "phantom-000000"
    assert samples.task == "multilabel"
    assert samples.classes == FINDINGS


def test_prevalence_is_as_asked_and_patients_keep_most_of_their_findings() -> None:
    shares = (0.02, 0.1, 0.2, 0.3, 0.5, 1.0)
    config = PhantomConfig(samples=20_000, findings=FINDINGS, prevalence=shares, images_per_patient=2.5)
    samples = phantom_samples(DataConfig(phantom=config))
    assert samples.patients is not None
    number = np.unique(samples.patients, return_inverse=True)[1]
    counts = np.bincount(number)
    assert counts.mean() == pytest.approx(2.5, rel=0.05)
    assert counts.max() > 6
    for column, (name, share) in enumerate(zip(FINDINGS, shares, strict=True)):
        values = samples.targets[:, column]
        residual = np.bincount(number, values - share)
        error = math.sqrt(float((residual**2).sum())) / len(values)
        assert abs(values.mean() - share) <= 4 * error + 1e-12
        same = (values[1:] == values[:-1])[number[1:] == number[:-1]].mean()
        assert same >= STAYS[name] ** 2 - 0.02
    assert (samples.targets == 1).all(0).tolist() == [False] * 5 + [True]


def test_a_patient_is_one_person() -> None:
    samples = phantom_samples(DataConfig(phantom=PhantomConfig(samples=500, images_per_patient=3)))
    assert samples.metadata is not None
    assert samples.patients is not None
    people = samples.metadata.groupby(samples.patients)
    assert (people["sex"].nunique() == 1).all()
    assert (people["age"].nunique() == 1).all()
    assert people["view"].nunique().max() == 2


def test_labels_are_independent_of_each_other_and_of_sex_age_and_view() -> None:
    config = PhantomConfig(samples=20_000, findings=FINDINGS, prevalence=0.2, images_per_patient=1)
    samples = phantom_samples(DataConfig(phantom=config))
    assert samples.metadata is not None
    person = samples.metadata
    nuisance = np.column_stack([person["sex"] == "F", person["age"], person["view"] == "AP"])
    matrix = np.corrcoef(np.column_stack([samples.targets, nuisance]).T)
    np.fill_diagonal(matrix, 0)
    assert np.abs(matrix).max() < 4 / math.sqrt(len(samples))


# --- masks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "difficulty"), [(32, 0.0), (32, 1.0), (96, 0.4), (97, 1.0)])
def test_a_mask_is_there_exactly_where_the_label_is(size: int, difficulty: float) -> None:
    images = images_of(SOME.model_copy(update={"size": size, "difficulty": difficulty, "prevalence": 0.5}))
    for row in range(len(images)):
        mask = images.mask(row)
        assert mask.shape == (len(FINDINGS), size, size)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}
        np.testing.assert_array_equal(mask.any((1, 2)), images.present[row])


def test_lesions_cover_from_a_twentieth_of_a_percent_to_a_tenth_of_the_image() -> None:
    images = images_of(PhantomConfig(samples=80, size=128, findings=FINDINGS, prevalence=0.5, difficulty=0.4))
    shares = np.array([images.mask(row).mean((1, 2)) for row in range(len(images))])
    for column, name in enumerate(FINDINGS):
        there = shares[images.present[:, column], column]
        assert there.min() >= 0.0005
        assert there.max() <= (0.16 if name == "cardiomegaly" else 0.11)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_its_place_and_nothing_at_the_borders(name: str) -> None:
    """The strongest test against shortcuts: the same image with and without the finding, noise included."""
    config = PhantomConfig(samples=12, size=64, findings=(name,), difficulty=0.2, seed=1)
    images = images_of(config)
    with_it, without = (replace(images, present=np.full_like(images.present, there)) for there in (True, False))
    for row in range(len(images)):
        change = with_it.read(row).pixels.astype(float) - without.read(row).pixels
        outside = np.zeros_like(change, bool)
        outside[:, :3] = outside[:, -3:] = outside[-4:] = True
        outside[:5, :14] = outside[:5, -14:] = outside[:6, 30:34] = True  # above the shoulders; the neck
        assert not change[outside].any()
        inside = with_it.mask(row)[0] == 1
        assert np.abs(change[inside]).mean() > 3 * np.abs(change[~inside]).mean()
        if name != "cardiomegaly":
            assert np.sign(change[inside].mean()) == (-1 if name == "pneumothorax" else 1)


# --- can it be learned, and by the finding alone ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnable() -> Phantom:
    findings = ("effusion", "cardiomegaly", "consolidation", "nodule")
    return draw_phantom(
        PhantomConfig(samples=600, size=64, findings=findings, prevalence=0.3, difficulty=0.2, images_per_patient=1)
    )


def auc_of(features: NDArray[np.float64], labels: NDArray[np.float32]) -> tuple[float, float]:
    """AUC on the second half of a logistic regression on the first, and its standard error (Hanley and McNeil 1982)."""
    half = len(labels) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000)).fit(features[:half], labels[:half])
    area = float(roc_auc_score(labels[half:], model.decision_function(features[half:])))
    positives = float(labels[half:].sum())
    negatives = len(labels) - half - positives
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (first - area**2) + (negatives - 1) * (second - area**2)
    return area, math.sqrt(spread / (positives * negatives))


def test_coarse_pixels_tell_effusion_cardiomegaly_and_consolidation(learnable: Phantom) -> None:
    coarse = learnable.images.reshape(-1, 16, 4, 16, 4).mean((2, 4)).reshape(len(learnable), -1)
    coarse = (coarse - coarse.mean(1, keepdims=True)) / coarse.std(1, keepdims=True)
    areas = {name: auc_of(coarse, learnable.targets[:, column])[0] for column, name in enumerate(learnable.findings)}
    assert areas["cardiomegaly"] > 0.9
    assert areas["effusion"] > 0.85
    assert areas["consolidation"] > 0.7


def test_the_width_of_the_heart_tells_cardiomegaly(learnable: Phantom) -> None:
    band = learnable.images[:, 34:40].mean(1)  # (N, 64) brightness from side to side at the height of the heart
    level = (np.quantile(band, 0.9, axis=1) + np.quantile(band[:, 10:54], 0.1, axis=1)) / 2
    width = (band[:, 10:54] > level[:, None]).sum(1).astype(float)
    column = learnable.findings.index("cardiomegaly")
    assert auc_of(width[:, None], learnable.targets[:, column])[0] > 0.85


def test_unequal_bases_tell_effusion(learnable: Phantom) -> None:
    lower = learnable.images[:, 36:48, 8:56].astype(float).mean(1)
    unequal = np.abs(lower[:, :12].mean(1) - lower[:, -12:].mean(1))
    column = learnable.findings.index("effusion")
    assert auc_of(unequal[:, None], learnable.targets[:, column])[0] > 0.7


def test_corners_borders_and_noise_tell_nothing(learnable: Phantom) -> None:
    pixels = learnable.images.astype(float)
    corners = [pixels[:, rows, columns] for rows in (slice(0, 8), slice(56, 64)) for columns in (slice(0, 8), slice(56, 64))]
    borders = [pixels[:, :3], pixels[:, -3:], pixels[:, :, :3], pixels[:, :, -3:]]
    grain = np.diff(pixels[:, 54:, 24:40], axis=2)
    nuisance = np.column_stack([statistic((1, 2)) for part in (*corners, *borders, grain) for statistic in (part.mean, part.std)])
    for column, name in enumerate(learnable.findings):
        area, error = auc_of(nuisance, learnable.targets[:, column])
        assert abs(area - 0.5) < 1.96 * error, name


# --- tasks and what cannot be -----------------------------------------------------------------------------------------------


def test_one_finding_is_a_binary_task() -> None:
    samples = phantom_samples(DataConfig(phantom=PhantomConfig(samples=10, findings=("mass",))))
    assert (samples.task, samples.classes, samples.negative) == ("binary", ("mass",), "normal")
    assert samples.targets.shape == (10, 1)
    named = DataConfig(phantom=PhantomConfig(samples=10, findings=("mass",)), classes=("normal", "mass"))
    assert phantom_samples(named).classes == ("mass",)


def test_multiclass_is_one_hot_with_normal_first() -> None:
    config = PhantomConfig(samples=6000, findings=("mass", "effusion"), prevalence=(0.2, 0.3), images_per_patient=1.5)
    samples = phantom_samples(DataConfig(task="multiclass", phantom=config))
    assert samples.classes == ("normal", "mass", "effusion")
    np.testing.assert_array_equal(samples.targets.sum(1), 1)
    np.testing.assert_allclose(samples.targets.mean(0), [0.5, 0.2, 0.3], atol=0.03)
    assert any("one finding at most" in note for note in samples.notes)
    row = int(np.flatnonzero(samples.targets[:, 2])[0])
    assert isinstance(samples.images, PhantomImages)
    assert samples.images.mask(row).any((1, 2)).tolist() == [False, True]


def test_the_order_of_classes_can_be_chosen() -> None:
    config = PhantomConfig(samples=40, findings=("mass", "effusion"))
    plain, turned = (phantom_samples(DataConfig(phantom=config, classes=order)) for order in (None, ("effusion", "mass")))
    assert turned.classes == ("effusion", "mass")
    np.testing.assert_array_equal(turned.targets, plain.targets[:, ::-1])


@pytest.mark.parametrize(
    ("data", "phantom", "message"),
    [
        ({"task": "binary"}, {}, "binary needs one finding.*nodule, effusion, cardiomegaly"),
        ({"task": "multiclass"}, {"prevalence": 0.4}, "add up to 1.2"),
        ({"classes": ("pneumonia",)}, {}, "the phantom as configured has nodule, effusion, cardiomegaly"),
    ],
)
def test_what_cannot_be_drawn_is_said(data: dict[str, object], phantom: dict[str, object], message: str) -> None:
    config = DataConfig.model_validate({**data, "phantom": phantom})
    with pytest.raises(ConfigError, match=message):
        phantom_samples(config)


def test_shares_that_add_up_to_one_leave_no_normal() -> None:
    config = PhantomConfig(samples=500, findings=FINDINGS[:3], prevalence=(0.1, 0.2, 0.7))
    samples = phantom_samples(DataConfig(task="multiclass", phantom=config))
    assert samples.targets[:, 0].sum() == 0


# --- masks as a task --------------------------------------------------------------------------------------------------------


def of_masks(**settings: object) -> DataConfig:
    phantom = {"samples": 60, "size": 64, "findings": ["nodule", "effusion"], "prevalence": 0.4, **settings}
    return DataConfig.model_validate({"task": "segmentation", "phantom": phantom})


def test_segmentation_gives_a_mask_of_each_finding() -> None:
    samples = phantom_samples(of_masks())
    assert samples.masks is not None
    assert not samples.exclusive
    for row in range(20):
        planes = samples.masks.read(row)
        np.testing.assert_array_equal(planes.any(axis=(1, 2)), samples.targets[row] == 1)
    turned = phantom_samples(of_masks().model_copy(update={"classes": ("effusion", "nodule")}))
    assert turned.masks is not None
    np.testing.assert_array_equal(turned.masks.read(0), samples.masks.read(0)[::-1])
    assert turned.masks.content() != samples.masks.content()
    assert samples.take(np.arange(3)).masks is not None


@pytest.mark.parametrize("name", ["nodule", "mass", "consolidation"])
def test_lesions_have_the_area_asked_for(name: str) -> None:
    low, high = 0.0005, 0.1
    config = of_masks(findings=[name], prevalence=1.0, size=128, lesion_area=[low, high], images_per_patient=1)
    samples = phantom_samples(config)
    assert samples.masks is not None
    areas = np.array([samples.masks.read(row).mean() for row in range(len(samples))])
    # Positioning magnifies by up to 6 % a side, and a cloud's edge is soft.
    assert low * 0.6 < areas.min()
    assert areas.max() < high * 1.25
    logs = (np.log(areas) - np.log(low)) / (np.log(high) - np.log(low))
    assert scipy.stats.kstest(logs, "uniform").pvalue > 1e-3


def test_an_area_is_visible_and_changes_nothing_where_it_is_not_asked_for() -> None:
    config = of_masks(findings=["nodule"], prevalence=1.0, lesion_area=[0.005, 0.01], difficulty=0.0, images_per_patient=1)
    lesions, plain = phantom_samples(config), phantom_samples(of_masks(findings=["nodule"], prevalence=0.0, images_per_patient=1))
    assert lesions.masks is not None
    contrast = []
    for row in range(20):
        inside = lesions.masks.read(row)[0] == 1
        difference = lesions.images.read(row).pixels.astype(float) - plain.images.read(row).pixels
        contrast.append(difference[inside].mean())
    assert np.mean(contrast) > 15
    assert lesions.images.identity(0) != phantom_samples(of_masks(findings=["nodule"], prevalence=1.0)).images.identity(0)


def test_rare_foreground_can_be_asked_for() -> None:
    samples = phantom_samples(of_masks(findings=["nodule"], prevalence=0.5, samples=150, lesion_area=[0.0005, 0.02]))
    assert samples.masks is not None
    assert 0.0015 < np.mean([samples.masks.read(row).mean() for row in range(150)]) < 0.005


def test_an_area_of_findings_that_have_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of the findings"):
        phantom_samples(of_masks(findings=["effusion"], lesion_area=[0.001, 0.01]))
