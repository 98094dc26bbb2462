"""Sections on samples and pixels: data, preparation, augmentation."""

from __future__ import annotations

import re
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
    lesion_area: tuple[Share, Share] | None = None
    """Smallest and largest area of a lesion as a share of the image, log-uniform between, such as [0.0005, 0.1]. Null: as the
    finding usually is."""
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

    @field_validator("lesion_area")
    @classmethod
    def _rising_area(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1]:
            raise ValueError(f"[smallest, largest] must be above 0 and rise; got {list(value)}")
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
    val: tuple[str, ...] = ()
    """Patients that are val (ids of samples, where patients are unknown); the others are divided as `ratio` says."""
    test: tuple[str, ...] = ()
    """As `val`, for test. Where both are given, all others are train."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation: samples are divided into so many equal folds instead of by `ratio`; the source's own train and val are
    divided anew. Null: one division by `ratio`."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Fold that is test, from 0; the next, after the last the first, is val, and all others are train. Where test is given by the
    source or by `test`, it stays, and so where its ratio is 0 it stays away: then this fold is val."""
    repeat: Annotated[int, Field(ge=0)] = 0
    """Each number divides into folds differently, for repeated cross-validation."""

    @model_validator(mode="after")
    def _in_one_split(self) -> SplitConfig:
        if both := sorted({*self.val} & {*self.test}):
            raise ValueError(f"{', '.join(both)}: given for val and for test; a patient belongs to one split")
        return self

    @model_validator(mode="after")
    def _folds_fit(self) -> SplitConfig:
        if self.folds is None:
            if self.fold or self.repeat:
                raise ValueError("fold and repeat are read where folds says how many there are; give folds, or leave them out")
        elif self.fold >= self.folds:
            raise ValueError(f"fold {self.fold}: the {self.folds} folds are counted from 0, up to {self.folds - 1}")
        elif self.val:
            raise ValueError("val names patients, but with folds each fold is val in its turn; leave one of them out")
        return self


class TrialConfig(Section):
    """A trial of a configuration that leaves the test set alone; `osler treat` trains its arms so."""

    prove: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of val's patients that are set apart to prove with, in place of the test set; the others choose epoch and
    threshold."""
    train: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of train's patients to learn from, stratified."""
    seed: int = 0
    """Of both divisions."""


class MasksConfig(Section):
    """Where masks are and what their pixel values mean; read for `source: masks` and for csv tables with a mask column."""

    path: Path | None = None
    """Folder of masks; null: found beside the images ("masks", "labels", "annotations" ..., or in the images' own folder)."""
    suffix: str | None = None
    """What a mask's name has after its image's, such as "_mask"; null: found."""
    column: str | None = None
    """csv: column of mask paths; null: found by name ("mask", "segmentation", "label_path")."""
    values: dict[str, tuple[Annotated[int, Field(ge=0, le=65535)], ...]] | Auto | None = "auto"
    """Class name to the pixel values that mean it. "auto": one class, whose value is the only one besides 0; several values need
    naming. All other values but 0 and `ignore` are an error. Null: any value but 0 and `ignore` is the one class."""
    ignore: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Pixel value whose pixels are unknown: out of loss, counts, floors and scores."""
    per_class: bool = False
    """A file of its own for each class of `data.classes` (folder or name part of that name); classes may then overlap."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """For masks that hold probabilities: from which share of the type's range on a pixel is foreground. Null: such masks are
    an error."""
    missing: Literal["error", "empty"] = "error"
    """What an image without a mask means: an error, or that there is nothing to find in it."""


class PatchConfig(Section):
    """Training on patches cut from the images, instead of on whole images."""

    size: Annotated[int, Field(ge=16, le=1024)] = 256
    """Side of the square patch in pixels of the prepared image."""
    per_image: Count = 4
    """Patches of each image in an epoch."""
    foreground: Share = 0.33
    """Share of patches centred on a foreground pixel of the image, where it has any; the others lie anywhere."""


class DataConfig(Section):
    """Where samples come from, what their labels are, and how they are drawn."""

    source: Literal[
        "phantom",
        "folder",
        "csv",
        "npz",
        "masks",
        "nih_cxr14",
        "chexpert",
        "rsna_pneumonia",
        "siim_pneumothorax",
        "ham10000",
        "isic",
        "chest_xray_folders",
        "medmnist",
    ] = "phantom"
    """A form of data, or, from "nih_cxr14" on, a public set as it is published, whose classes, patients and official splits are
    known."""
    path: Path | None = None
    """Folder of class folders, CSV file, .npz file, folder of images with masks, or folder of a public set. Relative paths are
    relative to the working directory."""
    classes: tuple[str, ...] | None = None
    """Label names in order. Null: found in the data. For a two-class set the last is the positive one."""
    task: Literal["auto", "binary", "multiclass", "multilabel", "segmentation"] = "auto"
    """"auto": segmentation where there are masks, else by the labels."""
    masks: MasksConfig = MasksConfig()
    patches: PatchConfig | None = None
    """Segmentation: train on patches. Null: on whole images."""
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
    """csv, and masks with a table in their folder: column of patient ids; null: found by name ("patient", "patient_id",
    "Patient ID")."""
    patient_pattern: str | None = None
    """folder, masks: regular expression found in each image's path, whose group is the patient, such as "patient(\\d+)". Null:
    known ways to name files, else each image is a patient of its own."""
    split_column: str | None = None
    """csv: column that says train, val or test; null: found by the name "split"."""
    unknown: Literal["error", "ignore", "negative", "positive"] = "error"
    """What a blank label cell means. "ignore": it stays out of loss, counts, floors and scores."""
    uncertain: Literal["error", "ignore", "negative", "positive"] = "error"
    """What −1 in a column of 0 and 1 means, where a report is not sure of a finding; the policies that CheXpert's paper calls
    U-Ignore, U-Zeros and U-Ones."""
    unreadable: Literal["error", "skip"] = "error"
    """What an unreadable image does: stop with the list of them, or be skipped and recorded."""
    unreadable_limit: Share = 0.05
    """Preparing stops where a larger share of the images than this cannot be used; unless it is 0, one alone never does. Training
    heeds it where unreadable images are skipped."""
    split: SplitConfig = SplitConfig()
    subset: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the patients (or samples) to use, stratified."""
    trial: TrialConfig | None = None
    """Train on a part, choose on a part of val, and prove on the other. Null: the splits as they are."""
    dev_samples: Count | None = None
    """Development mode: at most so many samples over all splits, stratified."""
    sampler: Literal["none", "balanced", "inverse", "sqrt", "effective_number"] = "none"
    """How training samples are drawn, with replacement but for "none". "balanced": every class, and none of them, about equally
    often; the others weigh a class of n samples by 1 / n, 1 / √n, or (1 − β) / (1 − βⁿ). `osler balance` shows what comes."""
    sampler_reduce: Literal["mean", "max", "sum"] = "mean"
    """inverse, sqrt, effective_number: how the class weights of a sample's findings become its own."""
    sampler_beta: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    """effective_number: β."""
    no_finding_weight: NonNegative | None = None
    """inverse, sqrt, effective_number: weight of a sample without any finding, beside class weights such as 1 / n, which are
    small: 0.01 may drown all else. Null: that of a class of their count."""
    cache: Path | None = None
    """Folder of prepared images, shared by runs. Null: `$OSLER_CACHE`, else `~/.cache/osler`."""
    workers: Count | Auto = "auto"
    """Processes that prepare images; "auto": the cores this process may use."""
    phantom: PhantomConfig = PhantomConfig()

    @field_validator("patient_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"{value!r} has {groups} groups; exactly one, in ( ), must hold the patient; (?: ) groups without")
        return value

    def most_unreadable(self, images: int) -> int:
        """Of so many images, how many may be unusable before the set itself is in doubt.

        >>> [DataConfig(unreadable_limit=0.05).most_unreadable(images) for images in (10, 100)]
        [1, 5]
        """
        return max(1, int(self.unreadable_limit * images)) if self.unreadable_limit else 0

    @model_validator(mode="after")
    def _path_is_given(self) -> DataConfig:
        if self.source != "phantom" and self.path is None:
            raise ValueError(f"source {self.source!r} needs data.path")
        if self.classes is not None and (not self.classes or len(set(self.classes)) != len(self.classes)):
            raise ValueError("classes must be distinct names, at least one")
        return self

    @model_validator(mode="after")
    def _weight_is_read(self) -> DataConfig:
        if self.no_finding_weight is not None and self.sampler in ("none", "balanced"):
            raise ValueError(
                f"no_finding_weight is not read by sampler {self.sampler}; leave it out, or choose inverse, sqrt or "
                "effective_number"
            )
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
    range: Literal["dtype", "window"] | tuple[float, float] | PercentileRange | None = None
    """How pixel values become 0–255. Null: as they are, 8 bit only; "dtype": the type's full range; "window": as the DICOM
    file asks viewers to show it; [low, high]; {percentile: [p, q]} of each image."""
    clahe: ClaheConfig | None = None
    dtype: Literal["uint8", "uint16"] = "uint8"
    """How deep prepared images are. "uint16" keeps what files of more than 8 bits hold, from range to the network, for twice the
    disk and memory; networks get 0–255 either way, then with fractions."""

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
