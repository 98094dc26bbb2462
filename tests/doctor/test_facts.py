"""Facts: dotted keys from texts and files, and errors that name the nearest key."""

from __future__ import annotations

import math
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from osler.config import Config
from osler.doctor.facts import FACTS, Facts, facts_from_file, facts_from_texts, parse_value
from osler.errors import ConfigError


def config_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in section.model_fields.items():
        parts = [part for part in (field.annotation, *typing.get_args(field.annotation)) if isinstance(part, type)]
        inner = next((part for part in parts if issubclass(part, BaseModel)), None)
        keys += config_keys(inner, f"{prefix}{name}.") if inner is not None else [f"{prefix}{name}"]
    return keys


def test_every_key_of_the_configuration_may_be_stated() -> None:
    # A value that is itself a section, such as a phase, is stated whole.
    missing = [key for key in config_keys(Config) if key not in FACTS and FACTS.get(key.rpartition(".")[0]) != "any"]
    assert not missing


def test_texts_are_typed_by_their_key() -> None:
    facts = facts_from_texts(
        [
            "loss.pos_weight=2.0",
            "prevalence=10.13 %",
            "training.epochs=100",
            "samples.train=10,000",
            "classes=Hernia, Edema",
            "loss.type=bce",
        ]
    )
    assert facts["loss.pos_weight"] == 2.0
    assert facts["prevalence.val"] == facts["prevalence"] == pytest.approx(0.1013)
    assert facts["samples.train"] == 10_000
    assert facts["classes"] == ("Hernia", "Edema")
    assert facts.number("training.epochs") == 100.0
    assert math.isnan(facts.number("loss.type"))
    origin = facts.origin("prevalence")
    assert origin is not None
    assert origin.source == "--fact"


def test_off_is_known_and_not_the_same_as_unknown() -> None:
    facts = facts_from_texts(["loss.pos_weight=null"])
    assert "loss.pos_weight" in facts
    assert facts["loss.pos_weight"] is None
    assert "loss.alpha" not in facts


def test_a_number_for_each_class() -> None:
    facts = facts_from_texts(["prevalence.val.Hernia=0.002", "prevalence.val.Edema=2 %", "loss.pos_weight=[2, 4.4]"])
    assert facts["prevalence.val"] == {"Hernia": 0.002, "Edema": 0.02}
    assert facts["loss.pos_weight"] == (2, 4.4)


def test_all_faults_are_reported_with_the_nearest_key() -> None:
    with pytest.raises(ConfigError) as caught:
        facts_from_texts(["loss.pos_wieght=2", "prevalence=12", "pos_weight=3", "samples.train=many", "qqq=1"])
    message = str(caught.value)
    assert message.count("loss.pos_weight") == 2
    assert "5 facts" in message
    assert "percentage with its sign" in message
    assert "samples.train: is a count, not 'many'" in message
    assert "qqq: no such fact" in message


def test_a_text_without_equals_sign_is_explained() -> None:
    with pytest.raises(ConfigError, match="key=value"):
        facts_from_texts(["loss.pos_weight"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("facts.yaml", "loss: {type: focal, gamma: 2}\nprevalence: {train: 0.1, val: 18.5 %}\n"),
        ("facts.json", '{"loss": {"type": "focal", "gamma": 2}, "prevalence.train": 0.1, "prevalence.val": 0.185}'),
        ("facts.ini", "[loss]\ntype = focal  ; a comment\ngamma = 2\n[prevalence]\ntrain = 0.1\nval = 18.5 %\n"),
        ("facts.cfg", "loss.type = focal\nloss.gamma: 2\nprevalence.train = 0.1\nprevalence = 0.185\n"),
    ],
)
def test_files_of_facts(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    facts = facts_from_file(path)
    assert facts["loss.type"] == "focal"
    assert facts["loss.gamma"] == 2
    assert facts["prevalence.train"] == 0.1
    assert facts["prevalence.val"] == pytest.approx(0.185)


def test_files_that_hold_no_facts(tmp_path: Path) -> None:
    path = tmp_path / "facts.yaml"
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="this is a list"):
        facts_from_file(path)
    path.write_text("loss: {type: bce")
    with pytest.raises(ConfigError, match=r"neither YAML, JSON nor INI|no such fact"):
        facts_from_file(path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="text file"):
        facts_from_file(path)
    path.write_text("")
    assert len(facts_from_file(path)) == 0


def test_a_file_that_refers_to_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "facts.yaml"
    path.write_text("a: &a {b: *a}\n")
    with pytest.raises(ConfigError, match="no such fact"):
        facts_from_file(path)
    laughs = "\n".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, 30))
    path.write_text("a0: &a0 {x: 1}\n" + laughs)
    with pytest.raises(ConfigError):
        facts_from_file(path)


def test_unknown_keys_are_kept_where_osler_wrote_them() -> None:
    facts = Facts.of({"split.train.ids": "ab12", "loss.type": "bce"}, "facts.json", strict=False)
    assert facts["split.train.ids"] == "ab12"


def test_a_value_that_is_a_section_stays_whole() -> None:
    facts = Facts.of({"evaluation": {"threshold": {"sensitivity": 0.9}}, "loss": {"class_weights": "balanced"}}, "given")
    assert facts["evaluation.threshold"] == {"sensitivity": 0.9}
    assert facts["loss.class_weights"] == "balanced"


def test_values() -> None:
    assert parse_value("''") == ""
    assert parse_value("[]") == ()
    assert parse_value("true") is True
    assert parse_value("-3") == -3
    assert parse_value("1e-4") == 1e-4
    assert parse_value(" ~ ") is None
