"""From findings to a patch: which changes of the configuration are tried next, and which cannot be made from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osler.config import AugmentationConfig, Config, load_config
from osler.doctor.findings import SEVERITIES, Change, Diagnosis, Finding
from osler.errors import ConfigError
from osler.treat.dose import measured_dose

__all__ = ["Edit", "Patch", "apply_patch", "next_patch", "patch_from_json", "without_training"]

# Settings that change no weight: what they cure is cured without training.
NO_TRAINING = ("evaluation.", "data.workers", "doctor.", "run.", "prediction.")
# Settings that decide which samples are where: no arm could be proved on the same patients.
MOVES_SAMPLES = ("data.split.", "data.subset", "data.dev_samples", "data.trial", "data.source", "data.path")
# Doses that the doctor gives in words, as settings.
IN_WORDS: dict[tuple[str, str], Any] = {
    ("augmentation", "mild"): AugmentationConfig().model_dump(mode="json"),
    ("preparation.range", "percentile [1, 99]"): {"percentile": [1, 99]},
    ("loss.type", "bce + dice + focal"): "combined",
}
# What a loss does not read must not stand beside it.
OF_A_LOSS = ("pos_weight", "class_weights", "alpha", "weights", "tversky_alpha")


@dataclass(frozen=True)
class Edit:
    """One setting as it is, and as it shall be."""

    key: str
    before: Any
    after: Any
    why: str

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        return {"key": self.key, "from": self.before, "to": self.after, "why": self.why}


@dataclass(frozen=True)
class Patch:
    """One prescription as edits of a configuration.

    Attributes:
        finding: id of the fault that it is for.
        name: of the fault.
        summary: what was seen.
        dose: the fault's dose rule, in words.
        edits: at least one.
    """

    finding: str
    name: str
    summary: str
    dose: str
    edits: tuple[Edit, ...]

    def to_json(self) -> dict[str, Any]:
        """As in `osler.treatment/1`."""
        about = {"finding": self.finding, "name": self.name, "summary": self.summary, "dose": self.dose}
        return {**about, "edits": [edit.to_json() for edit in self.edits]}

    @property
    def keys(self) -> frozenset[str]:
        """The settings that it changes."""
        return frozenset(edit.key for edit in self.edits)


def patch_from_json(value: Mapping[str, Any]) -> Patch:
    """The patch that `Patch.to_json` wrote."""
    edits = tuple(Edit(one["key"], one["from"], one["to"], one["why"]) for one in value["edits"])
    return Patch(value["finding"], value["name"], value["summary"], value["dose"], edits)


# --- which prescription -----------------------------------------------------------------------------------------------------


def next_patch(
    diagnosis: Diagnosis, config: Config, doses: Mapping[str, str], tried: Iterable[Config]
) -> tuple[Patch | None, tuple[str, ...]]:
    """The first prescription that can be made and was not tried, and why others cannot, a sentence each.

    Findings come as they are ranked, the graver first, and notes not at all; a finding without changes of its own gives way to
    its symptoms'.

    Args:
        diagnosis: of the run.
        config: of the run.
        doses: fault id to its dose rule.
        tried: configurations that were trained already.
    """
    seen, refused = list(tried), []
    for finding in _in_order(diagnosis):
        if finding.severity == "note":  # what is noted does no harm that a run would show: to change it can only do some
            continue
        changes = [change for change in finding.signs.changes if not _of(change.key, NO_TRAINING)]
        edits: list[Edit] = []
        for change in changes:
            try:
                edits += _edits(measured_dose(change, diagnosis.chart), config)
            except ConfigError as error:
                refused.append(f"{finding.name}: {error}")
        if not edits:
            if not finding.signs.changes and not finding.symptoms:
                refused.append(_by_hand(finding))
            continue
        patch = Patch(finding.id, finding.name, finding.signs.summary, doses.get(finding.id, ""), tuple(edits))
        try:
            treated = apply_patch(config, patch)
        except ConfigError as error:
            refused.append(f"{finding.name}: cannot be applied: {error}")
            continue
        if treated not in seen:
            return patch, tuple(refused)
    return None, tuple(refused)


def without_training(diagnosis: Diagnosis) -> list[tuple[Finding, tuple[Change, ...]]]:
    """Findings with changes that need no training."""
    found = [(one, tuple(change for change in one.signs.changes if _of(change.key, NO_TRAINING))) for one in _in_order(diagnosis)]
    return [(finding, changes) for finding, changes in found if changes]


def _in_order(diagnosis: Diagnosis) -> Iterator[Finding]:
    """All findings, the graver first; each cause before its symptoms."""
    for severity in reversed(SEVERITIES):
        for finding in diagnosis.findings:
            if finding.severity == severity:
                yield finding
                yield from finding.symptoms


def _by_hand(finding: Finding) -> str:
    what = f": {finding.signs.actions[0]}" if finding.signs.actions else ""
    return f"{finding.name}: no setting cures it{what}"


def _of(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or (prefix.endswith(".") and key.startswith(prefix)) for prefix in prefixes)


# --- from a change to edits -------------------------------------------------------------------------------------------------


def _edits(change: Change, config: Config) -> list[Edit]:
    """A change as settings of this configuration.

    Raises:
        ConfigError: it is no setting, moves samples between splits, or is given in words alone.
    """
    key, after = change.key, IN_WORDS.get((change.key, str(change.after)), change.after)
    if _of(key, MOVES_SAMPLES):
        raise ConfigError(f"{key} moves samples between splits: no two runs could be compared on the same patients")
    if isinstance(after, str) and " " in after:
        raise ConfigError(f"{key}: {after!r} is advice, and no value that could be set")
    before = _value(config, key)
    training = config.training
    if key in ("training.learning_rate", "training.epochs") and training.phases:
        return _phase_edits(config, change)
    if key == "loss.pos_weight" and isinstance(after, Mapping):
        after = [after[name] for name in config.data.classes or ()]
    edits = [Edit(key, before, _plain(after), change.why)]
    if key == "training.warmup_epochs" and training.warmup_steps is not None:
        edits.append(Edit("training.warmup_steps", training.warmup_steps, None, "warmup_epochs is read where this is null"))
    if key == "loss.type":
        edits += [
            Edit(f"loss.{name}", _value(config, f"loss.{name}"), None, f"not read by {after}")
            for name in OF_A_LOSS
            if getattr(config.loss, name) is not None
        ]
    return edits


def _phase_edits(config: Config, change: Change) -> list[Edit]:
    """A rate or a number of epochs, changed in proportion in every phase that states its own."""
    name = change.key.removeprefix("training.")
    if not isinstance(change.before, (int, float)) or not isinstance(change.after, (int, float)) or not change.before:
        raise ConfigError(f"{change.key}: phases state their own, and by how much each should change is not known")
    factor = change.after / change.before
    phases = [phase.model_dump(mode="json") for phase in config.training.phases]
    for phase in phases:
        if phase[name] is not None:
            phase[name] = max(1, round(phase[name] * factor)) if name == "epochs" else float(f"{phase[name] * factor:.3g}")
    before = [phase.model_dump(mode="json") for phase in config.training.phases]
    whole = getattr(config.training, name)
    scaled = max(1, round(whole * factor)) if name == "epochs" else float(f"{whole * factor:.3g}")
    return [Edit("training.phases", before, phases, change.why), Edit(change.key, whole, scaled, change.why)]


def _value(config: Config, key: str) -> Any:
    """A setting as plain values.

    Raises:
        ConfigError: the configuration has no such setting.
    """
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"{key}: is no setting of a configuration; it must be changed in the code that trains")
        value = value[part]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def apply_patch(config: Config, patch: Patch) -> Config:
    """The configuration with all edits made.

    Raises:
        ConfigError: an edit's value is not allowed, alone or beside the others.
    """
    values = config.model_dump(mode="json")
    for edit in patch.edits:
        *sections, name = edit.key.split(".")
        place = values
        for section in sections:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
        place[name] = edit.after
    return load_config(values)
