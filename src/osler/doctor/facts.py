"""Facts: what is known once per run, under the config's own dotted keys, each with where it comes from.

They come with the log, by `--fact key=value`, by `--facts FILE`, or from a `facts.yaml` beside the log. An unknown key is
an error with the nearest known one; what Osler itself wrote, or another tool's settings file, may hold more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from osler.doctor.readers.numbers import parse_number
from osler.errors import ConfigError, nearest

__all__ = ["FACTS", "Fact", "Facts", "facts_from_file", "facts_from_texts", "parse_value"]

# Every key that may be stated, and its kind. Keys of the configuration keep their names; a contract test holds that all
# of them are here. Kinds: count, number and share may also be lists, or mappings from class to number.
FACTS: dict[str, str] = {
    "task": "text",
    "classes": "names",
    "samples.train": "count", "samples.val": "count", "samples.test": "count", "samples.set": "count",
    "patients.train": "count", "patients.val": "count", "patients.test": "count", "patients.set": "count",
    "positives.train": "count", "positives.val": "count", "positives.test": "count", "positives.set": "count",
    "prevalence.train": "share", "prevalence.val": "share", "prevalence.test": "share", "prevalence.set": "share",
    "prevalence.drawn": "share",
    "foreground.train": "share", "foreground.val": "share", "foreground.test": "share",
    "empty.train": "share", "empty.val": "share", "empty.test": "share",
    "lesions.train": "count", "lesions.val": "count", "lesions.test": "count",
    "lesions_erased.train": "count", "lesions_erased.val": "count", "lesions_erased.test": "count",
    "stop_reason": "text",
    "split.train": "text", "split.val": "text", "split.test": "text",
    "split.patients_shared": "count", "split.duplicates_shared": "count",
    "audit.patients_across_splits": "count", "audit.copies_across_splits": "count", "audit.near_copies_across_splits": "count",
    "audit.conflicting_labels": "count", "audit.unreadable": "count",
    "audit.metadata_auc": "number", "audit.metadata_auc_low": "number",
    "audit.pixels_auc": "number", "audit.pixels_auc_low": "number",
    "loss.type": "text", "loss.pos_weight": "number", "loss.pos_weight_cap": "number", "loss.class_weights": "number",
    "loss.alpha": "number", "loss.gamma": "number", "loss.label_smoothing": "number",
    "loss.tversky_alpha": "number", "loss.tversky_beta": "number", "loss.weights": "number", "loss.reduction": "text",
    "loss.tversky_gamma": "number", "loss.smooth": "number", "loss.pooled": "text", "loss.schedule": "any",
    "loss.schedule.type": "text", "loss.schedule.epochs": "any",
    "loss.pooling": "text", "loss.on_probabilities": "flag",
    "training.epochs": "number", "training.batch_size": "count", "training.learning_rate": "number",
    "training.optimizer": "text", "training.weight_decay": "number", "training.momentum": "number",
    "training.schedule": "text", "training.warmup_epochs": "number", "training.warmup_steps": "number",
    "training.plateau_patience": "count", "training.plateau_factor": "number", "training.clip_norm": "number",
    "training.accumulate": "count", "training.ema": "number", "training.precision": "text", "training.device": "text",
    "training.threads": "any", "training.monitor": "text", "training.early_stopping": "count", "training.min_delta": "number",
    "training.phases": "any", "training.checkpoint_every": "number", "training.seed": "number",
    "model.encoder": "text", "model.width": "count", "model.levels": "count", "model.deep_supervision": "flag",
    "model.architecture": "text", "model.pretrained": "any", "model.head": "any", "model.attention": "flag",
    "model.dropout": "number", "model.frozen_norm": "text", "model.output_bias": "any", "model.output_activation": "text",
    "data.source": "text", "data.path": "text", "data.classes": "names", "data.task": "text", "data.image_column": "text",
    "data.image_root": "text", "data.label_column": "text", "data.label_separator": "text", "data.negative_label": "text",
    "data.patient_column": "text", "data.split_column": "text", "data.unknown": "text", "data.unreadable": "text",
    "data.unreadable_limit": "share",
    "data.split.ratio": "any", "data.split.seed": "number", "data.split.by_patient": "flag", "data.subset": "share",
    "data.dev_samples": "count", "data.trial": "any", "data.sampler": "text", "data.cache": "text", "data.workers": "any",
    "data.phantom.samples": "count", "data.phantom.size": "count", "data.phantom.findings": "any",
    "data.phantom.prevalence": "share", "data.phantom.difficulty": "number", "data.phantom.images_per_patient": "number",
    "data.phantom.seed": "number", "data.phantom.lesion_area": "any",
    "data.masks.path": "text", "data.masks.suffix": "text", "data.masks.column": "text", "data.masks.values": "any",
    "data.masks.ignore": "any", "data.masks.per_class": "flag", "data.masks.threshold": "number", "data.masks.missing": "text",
    "data.patient_pattern": "text", "data.split.val": "any", "data.split.test": "any", "data.sampler_reduce": "text",
    "data.split.folds": "count", "data.split.fold": "count", "data.split.repeat": "count", "data.uncertain": "text",
    "data.sampler_beta": "number", "data.no_finding_weight": "number",
    "data.patches": "any", "data.patches.size": "count", "data.patches.per_image": "count", "data.patches.foreground": "share",
    "preparation.size": "any", "preparation.channels": "any", "preparation.fit": "text", "preparation.range": "any",
    "preparation.clahe": "any", "preparation.clahe.clip_limit": "number", "preparation.clahe.tiles": "count",
    "preparation.dtype": "text",
    "augmentation": "any", "augmentation.rotation": "number", "augmentation.shift": "number", "augmentation.zoom": "number",
    "augmentation.horizontal_flip": "number", "augmentation.vertical_flip": "number", "augmentation.brightness": "number",
    "augmentation.contrast": "number", "augmentation.noise": "number",
    "evaluation.threshold": "any", "evaluation.level": "number", "evaluation.bootstrap": "count",
    "evaluation.subgroups": "any",
    "prediction.tile": "any", "prediction.overlap": "share", "prediction.flips": "flag",
    "training.steps_per_epoch": "count",
    "doctor.on_critical": "text", "doctor.collapse_check": "count",
    "run.folder": "text", "run.name": "text",
}  # fmt: skip

# A plain `prevalence` is the validation one, by the contract.
SAME = {"prevalence": "prevalence.val"}
NUMERIC = ("count", "number", "share")
# Words that stand for a number which the configuration, or a library, works out.
ANSWERS = ("auto", "balanced", "inverse")
LARGEST_FILE = 1 << 22
DEEPEST = 8
MOST_FACTS = 10_000
MOST_FAULTS = 20


@dataclass(frozen=True)
class Fact:
    """One fact. `value` None means known to be off. `assumed`: a reader took it for this key; the log does not say so."""

    value: Any
    source: str
    assumed: bool = False


class Facts(Mapping[str, Any]):
    """Facts by dotted key; `facts[key]` is the value, `facts.origin(key)` all that is known about it."""

    def __init__(self, facts: Mapping[str, Fact] | None = None) -> None:
        self._facts = dict(facts or {})

    def __getitem__(self, key: str) -> Any:
        return self._facts[SAME.get(key, key)].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and SAME.get(key, key) in self._facts

    def __repr__(self) -> str:
        return f"Facts({ {key: fact.value for key, fact in self._facts.items()} })"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facts) and self._facts == other._facts

    __hash__ = None  # type: ignore[assignment]

    def origin(self, key: str) -> Fact | None:
        """The fact with where it comes from, or None where it is not known."""
        return self._facts.get(SAME.get(key, key))

    def number(self, key: str) -> float:
        """A fact as one number; NaN where it is unknown, off, a word, or one number for each class.

        >>> Facts.of({"training.epochs": 100}, "given").number("training.epochs")
        100.0
        """
        value = self.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan

    def over(self, above: Facts) -> Facts:
        """These facts with others laid over them; the others win."""
        return Facts({**self._facts, **above._facts})

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str, strict: bool = True, assumed: bool = False) -> Facts:
        """Facts from nested or dotted keys.

        Args:
            values: keys and values; a text value is read as `parse_value` does.
            source: where they come from, for reports and errors.
            strict: whether an unknown key is an error; otherwise it is kept as it is.
            assumed: marks all of them as taken for granted.

        Raises:
            ConfigError: unknown keys and values of the wrong kind, all of them.
        """
        facts: dict[str, Fact] = {}
        faults: list[str] = []
        for dotted, value in islice(_leaves(values), MOST_FACTS):
            key, part = _known_key(dotted)
            if len(faults) > MOST_FAULTS:
                break
            if key is None:
                if strict:
                    faults.append(_unknown(dotted))
                else:
                    facts[dotted] = Fact(value, source, assumed)
                continue
            fitted, fault = _fitted(FACTS[key], value)
            if fault is None:
                facts[key] = Fact(fitted if part is None else _with_part(facts.get(key), part, fitted), source, assumed)
            elif strict:
                faults.append(f"{dotted}: {fault}")
        if faults:
            number = "1 fact cannot" if len(faults) == 1 else f"{len(faults)} facts cannot"
            raise ConfigError(f"{source}: {number} be used:\n" + "\n".join(f"  {fault}" for fault in faults))
        return cls(facts)

    def to_json(self) -> dict[str, Any]:
        """Every fact with its origin, in what JSON knows."""
        return {key: {"value": fact.value, "source": fact.source, "assumed": fact.assumed} for key, fact in self._facts.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Facts:
        """What `to_json` wrote."""
        return cls({key: Fact(_tuples(fact["value"]), fact["source"], fact["assumed"]) for key, fact in stored.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a mapping under a known key is a value for each class and stays whole."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        # A YAML file may refer to itself; no fact lies that deep.
        if isinstance(value, Mapping) and key.count(".") < DEEPEST and not _is_whole(key, value):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _is_whole(key: str, value: Mapping[str, Any]) -> bool:
    """`prevalence.val: {Hernia: 0.002}` is one value with a number for each class; `prevalence: {val: 0.1}` a level of keys."""
    return FACTS.get(SAME.get(key, key)) in (*NUMERIC, "any") and not any(f"{key}.{name}" in FACTS for name in value)


def _known_key(dotted: str) -> tuple[str | None, str | None]:
    """The known key and, in `prevalence.val.Hernia`, the class."""
    key = SAME.get(dotted, dotted)
    if key in FACTS:
        return key, None
    for end in (position for position, sign in enumerate(key) if sign == "."):
        if FACTS.get(key[:end]) in NUMERIC:
            return key[:end], key[end + 1 :]
    return None, None


def _with_part(fact: Fact | None, part: str, value: Any) -> dict[str, Any]:
    return {**(fact.value if fact is not None and isinstance(fact.value, dict) else {}), part: value}


def _unknown(key: str) -> str:
    last = key.rpartition(".")[2]
    same_name = [known for known in FACTS if known.rpartition(".")[2] == last]
    guess = nearest(key, FACTS) or (same_name[0] if len(same_name) == 1 else None)
    if guess is None:
        return f"{key}: no such fact. Known ones begin with {', '.join(sorted({known.partition('.')[0] for known in FACTS}))}."
    return f"{key}: no such fact. Did you mean {guess!r}?"


def _fitted(kind: str, value: Any) -> tuple[Any, str | None]:
    """A value in the form of its kind, and what is wrong with it."""
    if isinstance(value, str):
        value = parse_value(value)
    if value is None or kind == "any":
        return _tuples(value), None
    if kind in NUMERIC:
        return _fitted_numbers(kind, value)
    if kind == "flag":
        return (value, None) if isinstance(value, bool) else (None, f"is true or false, not {value!r}")
    if kind == "names":
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value, None
        names = re.split(r"\s*[,|;]\s*", value.strip()) if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and names:
            return tuple(str(name) for name in names), None
        return None, f"is a list of names or their number, not {value!r}"
    return (str(value), None) if isinstance(value, (str, int, float)) else (None, f"is a word, not {value!r}")


def _fitted_numbers(kind: str, value: Any) -> tuple[Any, str | None]:
    if isinstance(value, Mapping):
        pairs = {str(name): _fitted_numbers(kind, item) for name, item in value.items()}
        return {name: fitted for name, (fitted, _) in pairs.items()}, next((fault for _, fault in pairs.values() if fault), None)
    if isinstance(value, (list, tuple)):
        items = [_fitted_numbers(kind, item) for item in value]
        return tuple(fitted for fitted, _ in items), next((fault for _, fault in items if fault), None)
    if isinstance(value, str):
        found = parse_number(value)
        if found is None:
            return (value, None) if value.lower() in ANSWERS else (None, f"is a {kind}, not {value!r}")
        value = found[0] / 100.0 if found[1] else found[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None, f"is a {kind}, not {value!r}"
    if kind == "share" and not 0.0 <= value <= 1.0:
        return None, f"is a share from 0 to 1, or a percentage with its sign, not {value!r}"
    if kind == "count" and (value < 0 or value != int(value)):
        return None, f"is a whole number, not {value!r}"
    return int(value) if kind == "count" else value, None


def parse_value(text: str) -> Any:
    """A value as `--fact` writes it: a number, a percentage, true, false, null, a list in brackets, or a text.

    >>> parse_value("1e-3"), parse_value("[2, 4.4]"), parse_value("18.5 %"), parse_value("null"), parse_value("bce")
    (0.001, (2, 4.4), 0.185, None, 'bce')
    """
    text = text.strip()
    word = text.lower()
    if word in ("null", "none", "~", ""):
        return None
    if word in ("true", "false"):
        return word == "true"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text[0] in "[(" and text[-1] in "])":
        inner = text[1:-1].strip()
        return tuple(parse_value(item) for item in inner.split(",")) if inner else ()
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*%?", text):
        return float(text.rstrip("% ")) / 100.0 if text.endswith("%") else float(text)
    return text


def facts_from_texts(texts: Iterable[str], source: str = "--fact") -> Facts:
    """Facts from `key=value` texts.

    >>> facts_from_texts(["loss.pos_weight=2.0", "prevalence=10.13 %"])["prevalence.val"]
    0.1013

    Raises:
        ConfigError: a text without "=", an unknown key, or a value of the wrong kind; all of them.
    """
    values: dict[str, Any] = {}
    broken: list[str] = []
    for text in texts:
        key, separator, value = text.partition("=")
        if separator and key.strip():
            values[key.strip()] = value
        else:
            broken.append(text)
    if broken:
        raise ConfigError(f"{source}: {', '.join(map(repr, broken))}: write a fact as key=value, such as loss.pos_weight=2.0")
    return Facts.of(values, source)


def facts_from_file(path: Path, strict: bool = True) -> Facts:
    """Facts from a YAML, JSON or INI-like file of nested or dotted keys.

    Raises:
        ConfigError: it cannot be read, or holds unknown keys or values of the wrong kind.
    """
    return Facts.of(read_settings(path), path.name, strict)


def read_settings(path: Path) -> dict[str, Any]:
    """A settings file as nested keys, whatever it is called.

    Raises:
        ConfigError: it is not there, too large, or neither YAML, JSON nor INI.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path}: is larger than {LARGEST_FILE >> 20} MiB; a file of facts has a few lines")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    values = _parse_settings(text, path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: facts are keys with values, such as `loss.pos_weight: 2.0`; this is a {type(values).__name__}"
        )
    return {str(key): value for key, value in values.items()}


def _parse_settings(text: str, path: Path) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # YAML's flow style begins with a brace too
    if re.search(r"^\s*\[[^\]\n]+\]\s*$", text, re.MULTILINE) or path.suffix in (".ini", ".cfg", ".conf", ".config"):
        return _parse_ini(text.splitlines())
    import yaml  # here, since most diagnoses have no such file and can spare the import

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        values = _parse_ini(text.splitlines())
        if values:
            return values
        raise ConfigError(f"{path}: is neither YAML, JSON nor INI: {' '.join(str(error).split())}") from error


def _parse_ini(lines: Sequence[str]) -> dict[str, Any]:
    """`[section]` and `key = value` or `key: value` lines; the section comes before the key."""
    values: dict[str, Any] = {}
    section = ""
    for line in lines:
        line = re.split(r"\s[#;]", line, maxsplit=1)[0].strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip() + "."
        elif line and line[0] not in "#;" and (found := re.match(r"([^=:]+?)\s*[=:]\s*(.*)", line)):
            values[section + found[1]] = parse_value(found[2])
    return values
