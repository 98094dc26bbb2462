"""`load_config`: YAML, dotted overrides and flags, all faults reported at once with the nearest key."""

from __future__ import annotations

import re
import typing
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel

from osler.config.whole import Config
from osler.errors import ConfigError, nearest

DEV_SAMPLES = 100
DEV_EPOCHS = 3


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
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable) or isinstance(key, tuple):
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
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
    """Makes flags count where phases state values of their own: `--epochs` is the most that a phase gets.

    Raises:
        ConfigError: `--lr`, and no phase takes its rate from the training section.
    """
    phases, epochs = config.training.phases, flags.get("training.epochs")
    if "training.learning_rate" in flags and all(phase.learning_rate is not None for phase in phases):
        raise ConfigError(
            "--lr: every phase of this configuration states a learning rate of its own. Leave it out of the phase that should "
            "follow training.learning_rate."
        )
    if epochs is None:
        return config
    shorter = tuple(phase.model_copy(update={"epochs": min(epochs, phase.epochs or epochs)}) for phase in phases)
    return config.model_copy(update={"training": config.training.model_copy(update={"phases": shorter})})


def _validated(values: Mapping[str, Any], where: str) -> Config:
    # A section whose every line is commented out is null in YAML, and means its defaults; augmentation alone can be off.
    values = {
        key: value
        for key, value in values.items()
        if value is not None or key not in Config.model_fields or key == "augmentation"
    }
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
        elif part.isdigit() or (not part[:1].isupper() and "[" not in part):
            yield part


def _section_at(location: Sequence[str]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Config
    for part in location:
        if section is not None and part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation)
    return section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation such as `ClaheConfig | None` or `tuple[PhaseConfig, ...]`."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _section_of(part))), None)


def _elsewhere(name: str) -> str | None:
    """The dotted key of a field with this name in another section, when there is just one."""
    keys = [f"{section}.{name}" for section, field in Config.model_fields.items() if name in _fields_of(field.annotation)]
    return keys[0] if len(keys) == 1 else None


def _fields_of(annotation: Any) -> Mapping[str, Any]:
    section = _section_of(annotation)
    return section.model_fields if section else {}


def config_to_yaml(config: Config) -> str:
    """The whole configuration as YAML; reading it back gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
