"""`osler balance`: what it writes, masks and patches, and the real table of 112,120 films."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from osler.balance import Balance, balance_config
from osler.balance.command import balance_data
from osler.config import Config, load_config
from osler.data.balance import DrawSettings
from osler.data.load import Data
from osler.data.samples import Samples
from osler.data.split import split_samples, stratified_subset
from osler.errors import ConfigError, RunError


def test_figures_page_and_json_are_written(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny(data={"sampler": "balanced", "phantom": {"findings": ["cardiomegaly", "effusion"], "prevalence": 0.3}})
    found = balance_config(config, 20)
    page = found.write(tmp_path / "out")
    assert {file.name for file in page.parent.iterdir()} == {"balance.html", "balance.json", "balance.png", "drawn.png"}
    for name in ("balance.png", "drawn.png"):
        assert (page.parent / name).read_bytes().startswith(b"\x89PNG")
    said = json.loads((page.parent / "balance.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert said == json.loads(found.json_text())
    assert said["schema"] == "osler.balance/1"
    assert [one["name"] for one in said["proof"]["classes"]] == ["cardiomegaly", "effusion", "(no finding)"]
    assert said["proof"]["batches"] == 20
    html = page.read_text()
    assert found.verdict[0].text in html
    assert "Effective odds in force" in html
    assert found.text().startswith(found.verdict[0].text[:60])


def test_what_cannot_be_is_said(tiny: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--batches: 0 is too few"):
        balance_config(tiny(), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made"):
        balance_config(tiny(), 1).write(tmp_path / "file" / "out")


@pytest.mark.parametrize("patches", [None, {"size": 16, "per_image": 2, "foreground": 1.0}])
def test_masks_are_counted_by_pixels_and_by_patches(tiny: Callable[..., Config], tmp_path: Path, patches: Any) -> None:
    data = {"task": "segmentation", "patches": patches, "phantom": {"size": 32, "findings": ["cardiomegaly"], "prevalence": 0.5}}
    found = balance_config(tiny(data=data, loss={"pos_weight": 4.0}, model={"architecture": "compact"}), 12)
    masks = found.masks
    assert masks is not None
    assert 0 < masks.shares[0] < masks.median[0] < 1
    whole = found.odds.classes[0]
    assert whole.in_force == pytest.approx(4 * masks.drawn_shares[0] / (1 - masks.drawn_shares[0]))
    if patches is None:
        assert masks.patches == 0
        assert masks.drawn_shares[0] == pytest.approx(masks.shares[0])
    else:
        # Every patch of an image with a heart is centred on it; images without one give none.
        present = found.source.counts("train").prevalence[0]
        assert masks.any_foreground == pytest.approx(present, abs=0.02)
        assert masks.drawn_shares[0] > 1.5 * masks.shares[0]
        assert "patches" in found.text()
    assert "Pixels" in found.write(tmp_path).read_text()


def test_a_sampler_over_masks_changes_the_pixels_that_are_seen(tiny: Callable[..., Config]) -> None:
    data = {"task": "segmentation", "sampler": "balanced", "phantom": {"findings": ["cardiomegaly"], "prevalence": 0.2}}
    masks = balance_config(tiny(data=data, model={"architecture": "compact"}), 12).masks
    assert masks is not None
    assert masks.drawn_shares[0] > 1.5 * masks.shares[0]


@pytest.fixture(scope="module")
def samples(real_sets: Path) -> Samples:
    """The real table with its split by patients."""
    table = pd.read_csv(real_sets / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
    labels = table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")
    samples = Samples(
        table["Image Index"].to_numpy(str),
        labels.to_numpy(np.float32),
        tuple(labels.columns),
        "multilabel",
        None,  # type: ignore[arg-type]
        patients=table["Patient ID"].astype(str).to_numpy(str),
    )
    return replace(samples, split=split_samples(samples, load_config({}).data.split))


class TestRealTable:
    """The 14-label record on the real table, 70 % of the rows and the 20 % subset."""

    def balance(self, samples: Samples, settings: dict[str, Any], rows: np.ndarray | None = None, **sections: Any) -> Balance:
        config = load_config({"data": settings, **sections})
        used = np.arange(len(samples)) if rows is None else rows
        assert samples.split is not None
        split = {name: used[samples.split[used] == name] for name in ("train", "val", "test")}
        drawing = DrawSettings(config.data.sampler_reduce, config.data.no_finding_weight, config.data.sampler_beta)
        return balance_data(config, Data(samples, split, config.data.sampler, (), drawing), 500)

    def test_the_unweighted_draw(self, samples: Samples) -> None:
        found = self.balance(samples, {})
        assert found.proof.variation.natural == pytest.approx(0.92, abs=0.006)
        assert found.proof.variation.drawn == pytest.approx(0.92, abs=0.025)
        assert found.proof.none is not None
        assert found.proof.none.drawn == pytest.approx(0.54, abs=0.01)

    @pytest.mark.parametrize(("reduce", "cv"), [("max", 0.41), ("mean", 0.36)])
    def test_maximum_and_mean_without_the_samples_that_have_none(self, samples: Samples, reduce: str, cv: float) -> None:
        found = self.balance(samples, {"sampler": "inverse", "sampler_reduce": reduce, "no_finding_weight": 0.0})
        assert found.proof.variation.expected == pytest.approx(cv, abs=0.012)
        assert found.proof.variation.drawn == pytest.approx(cv, abs=0.025)

    def test_the_records_own_line_looks_fine_and_drowns_the_findings(self, samples: Samples) -> None:
        found = self.balance(samples, {"sampler": "inverse", "no_finding_weight": 0.01})
        assert found.proof.variation.expected == pytest.approx(0.36, abs=0.012)
        assert found.proof.variation.low < 0.41 < found.proof.variation.high  # what the record saw in 500 batches
        first = found.verdict[0].text
        assert first.startswith("98 % of what is drawn has no finding (54 % of the samples): a batch of 32 holds 0.6")
        assert "with any finding instead of 14." in first
        assert "The balance over the 14 labels alone looks fine and cannot show it" in first
        assert found.text().startswith("CRITICAL: 98 % of what is drawn has no finding")

    def test_the_same_line_on_the_subset(self, samples: Samples) -> None:
        rows = stratified_subset(samples, 0.2, 42)
        found = self.balance(samples, {"sampler": "inverse", "no_finding_weight": 0.01}, rows)
        assert found.verdict[0].text.startswith(
            "91 % of what is drawn has no finding (54 % of the samples): a batch of 32 holds 3 "
        )

    def test_sound_samplers_are_called_sound(self, samples: Samples) -> None:
        found = self.balance(samples, {"sampler": "balanced"})
        assert found.verdict[0].tone == "good"
        assert found.proof.none is not None
        assert found.proof.none.expected == pytest.approx(1 / 15)

    def test_sampler_and_natural_weights_correct_twice(self, samples: Samples) -> None:
        assert samples.split is not None
        counts = samples.targets[samples.split == "train"].sum(axis=0)
        natural = (len(samples.targets) * 0.7 - counts) / counts
        found = self.balance(samples, {"sampler": "balanced"}, loss={"pos_weight": natural.tolist()})
        assert (found.verdict[0].id, found.verdict[0].tone) == ("corrected_twice", "critical")
        hernia = found.odds.classes[7]
        assert (hernia.name, round(hernia.in_force)) == ("Hernia", 41)
