"""Sections on samples and pixels: data, preparation, augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from osler.config.base import Auto, Count, NonNegative, Positive, Section, Share
from osler.errors import nearest

FINDINGS = ("nodule", "mass", "effusion", "cardiomegaly", "consolidation", "pneumothorax")


class PhantomConfig(Section):
    """The synthetic radiographs that Osler draws itself (`osler.data.phantom`)."""

    samples: Count = 2000
    """Images drawn."""
    size: Annotated[int, Field(ge=32, le=1024)] = 128
    """Side of the square image in pixels."""
    findings: tuple[str, ...] = ("nodule", "effusion", "cardiomegaly")
    """Findings that may occur; one label column each."""
    prevalence: Share | tuple[Share, ...] = 0.15
    """Share of images with a finding: one for all, or one for each finding."""
    difficulty: Share = 0.4
    """0: findings stand out; 1: at the limit of what the noise hides."""
    images_per_patient: Annotated[float, Field(ge=1)] = 1.6
    """Mean number of images of one patient."""
    seed: int = 0

    @field_validator("findings")
    @classmethod
    def _known_findings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in FINDINGS:
                guess = nearest(name, FINDINGS)
                raise ValueError(
                    f"{name!r} is not a finding{f' (did you mean {guess!r}?)' if guess else ''}; "
                    f"choose from {', '.join(FINDINGS)}"
                )
        if not value or len(set(value)) != len(value):
            raise ValueError("give at least one finding, each once")
        return value

    @model_validator(mode="after")
    def _one_prevalence_each(self) -> PhantomConfig:
        if isinstance(self.prevalence, tuple) and len(self.prevalence) != len(self.findings):
            raise ValueError(f"prevalence has {len(self.prevalence)} values for {len(self.findings)} findings")
        return self


class SplitConfig(Section):
    """How samples are divided where the source does not say."""

    ratio: tuple[Positive, Positive, NonNegative] = (0.7, 0.15, 0.15)
    """Shares of train, val and test; they are divided by their sum."""
    seed: int = 42
    by_patient: bool = True
    """Keep all samples of a patient in one split, where patients are known."""


class DataConfig(Section):
    """Where samples come from, what their labels are, and how they are drawn."""

    source: Literal["phantom", "folder", "csv", "npz"] = "phantom"
    path: Path | None = None
    """Folder of class folders, CSV file, or .npz file. Relative paths are relative to the working directory."""
    classes: tuple[str, ...] | None = None
    """Label names in order. Null: found in the data. For a two-class set the last is the positive one."""
    task: Literal["auto", "binary", "multiclass", "multilabel"] = "auto"
    image_column: str | None = None
    """csv: column of image paths; null: found by name ("path", "file", "image", "filename")."""
    image_root: Path | None = None
    """csv: folder that image paths are relative to; null: the CSV's own folder."""
    label_column: str | None = None
    """csv: one column of class names, or of several names separated by `label_separator`. Null: `classes` are columns."""
    label_separator: str | None = "|"
    """csv: separates several labels in `label_column`; null: one label a row."""
    negative_label: str | None = None
    """csv: the word in `label_column` for a sample without any label, such as "No Finding". Null: found by name."""
    patient_column: str | None = None
    """csv: column of patient ids; null: found by name ("patient", "patient_id", "Patient ID")."""
    split_column: str | None = None
    """csv: column that says train, val or test; null: found by the name "split"."""
    unknown: Literal["error", "ignore", "negative", "positive"] = "error"
    """What a blank label cell means. "ignore": it stays out of loss, counts, floors and scores."""
    unreadable: Literal["error", "skip"] = "error"
    """What an unreadable image does: stop with the list of them, or be skipped and recorded."""
    split: SplitConfig = SplitConfig()
    subset: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the patients (or samples) to use, stratified."""
    dev_samples: Count | None = None
    """Development mode: at most so many samples over all splits, stratified."""
    sampler: Literal["none", "balanced"] = "none"
    """"balanced": samples are drawn with replacement so that every class is seen about equally often."""
    cache: Path | None = None
    """Folder of prepared images, shared by runs. Null: `$OSLER_CACHE`, else `~/.cache/osler`."""
    workers: Count | Auto = "auto"
    """Processes that prepare images; "auto": the cores this process may use."""
    phantom: PhantomConfig = PhantomConfig()

    @model_validator(mode="after")
    def _path_is_given(self) -> DataConfig:
        if self.source != "phantom" and self.path is None:
            raise ValueError(f"source {self.source!r} needs data.path")
        if self.classes is not None and (not self.classes or len(set(self.classes)) != len(self.classes)):
            raise ValueError("classes must be distinct names, at least one")
        return self


class ClaheConfig(Section):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994), OpenCV's parameters."""

    clip_limit: Positive = 2.0
    tiles: Count = 8
    """Tiles a side."""


class PercentileRange(Section):
    """Each image's own percentiles become 0 and 255."""

    percentile: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (0.5, 99.5)

    @field_validator("percentile")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(f"[p, q] must rise; got {list(value)}")
        return value


class PreparationConfig(Section):
    """What is done to a file's pixels before any model sees them; the same in training and service."""

    size: Annotated[int, Field(ge=8, le=4096)] | Auto = "auto"
    """Side of the square image in pixels; "auto": from the images found and the architecture."""
    channels: Literal[1, 3] | Auto = "auto"
    """1: gray; 3: colour, or gray repeated. "auto": 3 where images are coloured, else 1; pretrained weights fit both."""
    fit: Literal["stretch", "pad"] = "stretch"
    """"pad" keeps the aspect ratio and fills with black."""
    range: Literal["dtype"] | tuple[float, float] | PercentileRange | None = None
    """How pixel values become 0–255. Null: as they are, 8 bit only; "dtype": the type's full range; [low, high];
    {percentile: [p, q]} of each image."""
    clahe: ClaheConfig | None = None

    @field_validator("range")
    @classmethod
    def _low_below_high(cls, value: Any) -> Any:
        if isinstance(value, tuple) and not value[0] < value[1]:
            raise ValueError(f"[low, high] must rise; got {list(value)}")
        return value


class AugmentationConfig(Section):
    """Random changes of training images; each value is the largest change, uniformly drawn. 0 is off."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Degrees, either way."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the side, either way, each axis."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share, in or out."""
    horizontal_flip: Share = 0.5
    """Probability. Off it goes where left and right differ in meaning."""
    vertical_flip: Share = 0.0
    brightness: Share = 0.1
    """Share of the full range, added."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share, around the image's mean."""
    noise: Share = 0.0
    """Standard deviation of Gaussian noise as a share of the full range, itself drawn from 0 to this."""
