"""Every config section, and `load_config`: YAML, dotted overrides, all faults reported at once.

A default is written once, on its field. `null` means off; `auto` means derived from the data, and is written resolved into
the run. Sections are frozen and forbid unknown keys. Names that choose from a table (architectures, losses) are checked
here against the literal types below; a contract test holds those equal to the tables.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from osler.errors import ConfigError, nearest

__all__ = ["Config", "config_to_yaml", "load_config", "merge", "parse_overrides", "training_flags"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

DEV_SAMPLES = 100
DEV_EPOCHS = 3
FINDINGS = ("nodule", "mass", "effusion", "cardiomegaly", "consolidation", "pneumothorax")


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


# --- data -------------------------------------------------------------------------------------------------------------------


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
    images_per_patient: Positive = 1.6
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


# --- model and loss ---------------------------------------------------------------------------------------------------------

ARCHITECTURES = ("resnet50", "densenet121", "efficientnet_b0", "convnext_tiny", "mobilenet_v3_large", "efficientnet_lite0", "small")


class ModelConfig(Section):
    """The network."""

    architecture: str = "auto"
    """A name of `osler models`, or "timm:NAME" for any model of timm. "auto": "small" below 64 pixels, else efficientnet_lite0."""
    pretrained: bool | Literal["embedded"] | Path | None = None
    """true: timm's weights from its hub; "embedded": the ImageNet weights installed with `osler[train]` (efficientnet_lite0
    only); a path: weights (.safetensors, or .pth of plain tensors); null or false: random."""
    head: tuple[Count, ...] = ()
    """Hidden units of the dense layers between pooled features and output."""
    attention: bool = False
    """Gate the pooled features by a dense sigmoid layer, as in squeeze-and-excitation."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Before the output; hidden layers of `head` use it too."""
    frozen_norm: Literal["eval", "train"] = "eval"
    """What BatchNorm of frozen layers does: use its stored statistics, or go on updating them."""
    output_bias: Literal["floor", "zero"] = "floor"
    """"floor": start at the best constant prediction under the loss and sampler."""

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, value: str) -> str:
        if value == "auto" or value in ARCHITECTURES or re.fullmatch(r"timm:[\w.\-]+", value):
            return value
        guess = nearest(value, ARCHITECTURES)
        raise ValueError(
            f"{value!r} is not known{f' (did you mean {guess!r}?)' if guess else ''}; "
            f"choose one of {', '.join(ARCHITECTURES)}, or timm:NAME"
        )

    @field_validator("pretrained", mode="after")
    @classmethod
    def _false_is_null(cls, value: Any) -> Any:
        return None if value is False else value


class LossConfig(Section):
    """The loss and its parameters; what they do is stated in `osler.losses` and probed by a test."""

    type: Literal["auto", "bce", "cross_entropy", "focal"] = "auto"
    """"auto": cross_entropy where classes exclude each other, else bce."""
    pos_weight: Positive | tuple[Positive, ...] | Auto | None = None
    """bce: weight of positive samples, one or one a class. "auto": negatives / positives in train, at most `pos_weight_cap`."""
    pos_weight_cap: Positive = 50.0
    class_weights: tuple[Positive, ...] | Auto | None = None
    """cross_entropy: weight of each class. "auto": n / (K · n_class), at most `pos_weight_cap` apart."""
    alpha: Share | tuple[Share, ...] | Auto | None = None
    """focal: weight of positives, 1 − alpha that of negatives; null: both 1. "auto": share of negatives, within [0.5, 0.95]."""
    gamma: NonNegative = 2.0
    """focal: exponent that mutes easy samples; 0 is plain cross-entropy."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Targets move so far towards the uniform: 1 becomes 1 − s/2 (bce, focal), 1 − s + s/K (cross_entropy)."""


# --- training ---------------------------------------------------------------------------------------------------------------


MONITORS = ("macro_auc", "macro_ap", "macro_f1", "accuracy", "loss")


class PhaseConfig(Section):
    """A stage of training with its own layers, length and rate. What is null is taken from `training`."""

    train: str = "all"
    """"head"; "all"; or "from:N": the head and the backbone's blocks from number N on, or "from:NAME"."""
    epochs: Count | None = None
    learning_rate: Positive | None = None
    patience: Count | None = None

    @field_validator("train")
    @classmethod
    def _known_part(cls, value: str) -> str:
        if value in ("head", "all") or re.fullmatch(r"from:[\w.]+", value):
            return value
        raise ValueError(f'{value!r}: use "head", "all", "from:N" or "from:NAME"')


class TrainingConfig(Section):
    """How the network is trained."""

    epochs: Count = 30
    batch_size: Count = 32
    learning_rate: Positive = 1e-3
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: NonNegative = 1e-4
    """Not applied to biases and normalisation layers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """sgd only, Nesterov."""
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "cosine"
    warmup_epochs: NonNegative = 0.0
    """Linear rise from 1 % of the learning rate; fractions are allowed."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """As `warmup_epochs`, in optimiser steps; wins where given."""
    plateau_patience: Count = 5
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    clip_norm: Positive | None = 5.0
    """Largest gradient norm."""
    accumulate: Count = 1
    """Micro-batches per optimiser step; `batch_size` is one micro-batch."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the exponential moving average of the weights. Where on, validation, `best` and export use the average."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """"auto": bf16 on a GPU that has it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Count | Auto = "auto"
    monitor: str = "macro_auc"
    """The validation figure that decides what is best: macro_auc, macro_ap, macro_f1, accuracy, loss."""
    early_stopping: Count | None = 10
    """Epochs without a better monitored figure before training stops; warm-up does not count. Null: never."""
    min_delta: NonNegative = 0.0
    """How much better counts as better."""
    phases: tuple[PhaseConfig, ...] = ()
    """Stages in order; empty: one stage, all layers."""
    checkpoint_every: Positive | None = 10.0
    """Minutes between checkpoints within an epoch; one is always written at each epoch's end."""
    seed: int = 42

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            return value
        raise ValueError(f"{value!r}: use auto, cpu, cuda or cuda:N")

    @field_validator("monitor")
    @classmethod
    def _known_monitor(cls, value: str) -> str:
        if value in MONITORS:
            return value
        guess = nearest(value, MONITORS)
        raise ValueError(f"{value!r}{f' (did you mean {guess!r}?)' if guess else ''}; choose one of {', '.join(MONITORS)}")


class SensitivityTarget(Section):
    """The largest threshold that still reaches this sensitivity on val."""

    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.9


class EvaluationConfig(Section):
    """How thresholds are chosen and figures given."""

    threshold: Literal["youden", "f1"] | Share | SensitivityTarget = "youden"
    """Chosen on val, applied to test: largest sensitivity + specificity; largest F1; a number; or {sensitivity: 0.9}."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals."""
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    subgroups: tuple[str, ...] | Auto = "auto"
    """Metadata columns to report by; "auto": those with 2 to 8 values, ages in bands."""


class DoctorConfig(Section):
    """The watch that is kept while a run trains."""

    on_critical: Literal["warn", "stop"] = "warn"
    """What a critical finding does; a non-finite loss always stops."""
    collapse_check: Count | None = 50
    """Batches between looks at whether predictions collapse within an epoch."""


class RunConfig(Section):
    """Where the run is kept."""

    folder: Path = Path("runs")
    name: str = "run"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if re.fullmatch(r"[\w.\-]+", value):
            return value
        raise ValueError(f"{value!r}: letters, digits, '.', '_' and '-' only")


class Config(Section):
    """A whole configuration."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    preparation: PreparationConfig = PreparationConfig()
    augmentation: AugmentationConfig | None = AugmentationConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    doctor: DoctorConfig = DoctorConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        task, loss = self.data.task, self.loss
        if loss.type == "cross_entropy" and task in ("binary", "multilabel"):
            raise ValueError(f"loss.type cross_entropy needs classes that exclude each other; the task is {task}: use bce or focal")
        if loss.type in ("bce", "focal") and task == "multiclass":
            raise ValueError(f"loss.type {loss.type} treats classes as independent; the task is multiclass: use cross_entropy")
        if self.model.pretrained == "embedded" and self.model.architecture not in ("auto", "efficientnet_lite0"):
            raise ValueError(
                "model.pretrained: the embedded weights are those of efficientnet_lite0, and model.architecture is "
                f"{self.model.architecture!r}: use architecture efficientnet_lite0, or pretrained true (from timm's hub) or a path"
            )
        return self


# --- loading ----------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but `1e-4` is a number, a repeated key is an error, and no text turns into a date."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)  # type: ignore[no-untyped-call]
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def read_yaml(text: str, where: str) -> Any:
    """Parses YAML text; `where` names it in the error.

    >>> read_yaml("training: {learning_rate: 3e-4}", "here")
    {'training': {'learning_rate': 0.0003}}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def load_config(
    source: Path | str | Mapping[str, Any] | None, overrides: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> Config:
    """Reads a configuration; precedence is default < YAML < dotted override < flag.

    Args:
        source: a YAML file, a mapping already read, or None for the defaults.
        overrides: texts such as "training.learning_rate=1e-4"; values are YAML.
        flags: dotted keys and values of command-line flags.

    Raises:
        ConfigError: with every fault found, each with the nearest key or what is allowed.
    """
    where, values = _read_source(source)
    values = merge(values, parse_overrides(overrides))
    for key, value in (flags or {}).items():
        values = merge(values, _nested(key, value))
    config = _validated(values, where)
    return _flags_over_phases(config, flags or {}) if config.training.phases else config


def _flags_over_phases(config: Config, flags: Mapping[str, Any]) -> Config:
    """Lets a flag win over what a phase states itself: `--epochs` is the length of each phase; `--lr` cannot be shared."""
    if "training.learning_rate" in flags and any(phase.learning_rate is not None for phase in config.training.phases):
        raise ConfigError(
            "--lr: the phases of this configuration state learning rates of their own. Change them there, or give the rate to a "
            "phase by an override such as 'training.phases=[{train: head, learning_rate: 1e-3}, {train: all}]'."
        )
    if "training.epochs" not in flags:
        return config
    phases = tuple(phase.model_copy(update={"epochs": flags["training.epochs"]}) for phase in config.training.phases)
    return config.model_copy(update={"training": config.training.model_copy(update={"phases": phases})})


def _validated(values: Mapping[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
        number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{where}: {number} in the configuration:\n" + "\n".join(f"  {fault}" for fault in faults)) from error


def training_flags(
    dev_mode: bool, dev_samples: int | None, epochs: int | None, batch_size: int | None, lr: float | None
) -> dict[str, Any]:
    """The dotted keys that the flags of `osler train` stand for; flags not given are left out.

    Development mode is 100 samples and 3 epochs where the other flags do not say otherwise.

    >>> training_flags(True, 200, None, 4, None)
    {'data.dev_samples': 200, 'training.epochs': 3, 'training.batch_size': 4}
    """
    if dev_mode:
        dev_samples, epochs = dev_samples or DEV_SAMPLES, epochs or DEV_EPOCHS
    given = {
        "data.dev_samples": dev_samples,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": lr,
    }
    return {key: value for key, value in given.items() if value is not None}


def _read_source(source: Path | str | Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    if source is None:
        return "configuration", {}
    if isinstance(source, Mapping):
        return "configuration", dict(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file. `osler init SOURCE` writes one from your data.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    values = read_yaml(text, str(path))
    if values is None:
        return str(path), {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of sections; this is a {type(values).__name__}")
    return str(path), values


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Turns dotted overrides into nested values.

    >>> parse_overrides(["training.learning_rate=1e-4", "loss.type=focal"])
    {'training': {'learning_rate': 0.0001}, 'loss': {'type': 'focal'}}
    """
    values: dict[str, Any] = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"override {text!r}: write it as section.key=value, such as training.epochs=20")
        values = merge(values, _nested(key.strip(), read_yaml(value, f"override {text!r}")))
    return values


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` laid over it, section by section; snippets come on top of a whole config this way.

    >>> merge({"loss": {"type": "bce", "gamma": 2}}, {"loss": {"type": "focal"}})
    {'loss': {'type': 'focal', 'gamma': 2}}
    """
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _describe(fault: Any) -> str:
    """One fault as a line: dotted key, what is wrong, what is allowed, the nearest key."""
    # pydantic adds the alternatives of a union to the location; only names of fields help a reader.
    location = [str(part) for part in fault["loc"]]
    key = ".".join(_config_key(location))
    if fault["type"] == "extra_forbidden":
        section = _section_at(location[:-1])
        names = list(section.model_fields) if section else []
        guess = nearest(location[-1], names) or _elsewhere(location[-1])
        hint = f" Did you mean {guess!r}?" if guess else f" Known here: {', '.join(names)}."
        return f"{key}: unknown key.{hint}"
    message = fault["msg"].removeprefix("Value error, ")
    seen = fault.get("input")
    shown = "" if isinstance(seen, (Mapping, BaseModel)) or not key else f" (got {seen!r})"
    return f"{key}: {message}{shown}" if key else message


def _config_key(location: Sequence[str]) -> Iterator[str]:
    section: type[BaseModel] | None = Config
    for part in location:
        if section is None:
            if part.isdigit():
                yield part
            continue
        if part in section.model_fields or section is Config:
            yield part
            section = _section_of(section.model_fields[part].annotation) if part in section.model_fields else None
        elif part.isdigit():
            yield part
        elif not part[:1].isupper() and "[" not in part:
            yield part


def _section_at(location: Sequence[str]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Config
    for part in location:
        if section is not None and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation)
    return section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `ClaheConfig | None` or `tuple[PhaseConfig, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _section_of(part))), None)


def _elsewhere(name: str) -> str | None:
    """The dotted key of a field with this name in another section, when there is just one."""
    keys = [f"{section}.{name}" for section, field in Config.model_fields.items() if name in _fields_of(field.annotation)]
    return keys[0] if len(keys) == 1 else None


def _fields_of(annotation: Any) -> Mapping[str, Any]:
    section = _section_of(annotation)
    return section.model_fields if section else {}


# --- writing ----------------------------------------------------------------------------------------------------------------


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML; reading it back gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
