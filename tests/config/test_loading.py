"""Loading a configuration: precedence, snippets people bring, and errors that name every fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from osler.config import Config, config_to_yaml, load_config, parse_overrides, training_flags
from osler.errors import ConfigError

SNIPPETS = """
model: {architecture: densenet121, pretrained: true}
loss: {type: bce, pos_weight: 4.4}
training: {learning_rate: 0.0001, epochs: 50}
"""


def faults_of(values: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(values)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_snippets_from_earlier_projects_work_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(SNIPPETS)
    config = load_config(path)
    assert config.model.architecture == "densenet121"
    assert config.model.pretrained is True
    assert config.loss.pos_weight == 4.4
    assert (config.training.learning_rate, config.training.epochs) == (1e-4, 50)


def test_precedence_is_default_yaml_override_flag(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training: {epochs: 5, batch_size: 8, learning_rate: 3e-4}")
    flags = training_flags(False, None, 7, None, None)
    config = load_config(path, ["training.epochs=6", "training.batch_size=16"], flags)
    assert (config.training.epochs, config.training.batch_size) == (7, 16)
    assert config.training.learning_rate == 3e-4  # a number, though YAML 1.1 reads it as text
    assert config.training.momentum == Config().training.momentum


def test_the_written_config_reads_back_equal() -> None:
    config = load_config(
        {
            "preparation": {"range": {"percentile": [1, 99]}, "clahe": {"tiles": 4}},
            "training": {"phases": [{"train": "head", "epochs": 2}, {"train": "from:100"}]},
            "evaluation": {"threshold": {"sensitivity": 0.95}},
            "data": {"source": "csv", "path": "/some/labels.csv"},
        }
    )
    assert load_config(yaml.safe_load(config_to_yaml(config))) == config


def test_all_faults_are_reported_at_once_with_the_nearest_key() -> None:
    faults = faults_of(
        {
            "trainig": {},
            "model": {"architecture": "densnet121", "atention": True},
            "training": {"epochs": 0, "learning_rate": "fast", "pos_weight": 3},
            "preparation": {"range": [5, 1]},
        }
    )
    text = "\n".join(faults)
    assert len(faults) == 7
    assert "trainig: unknown key. Did you mean 'training'?" in faults
    assert "model.atention: unknown key. Did you mean 'attention'?" in faults
    assert "training.pos_weight: unknown key. Did you mean 'loss.pos_weight'?" in faults
    assert "did you mean 'densenet121'?" in text
    assert "training.epochs" in text
    assert "must rise" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": {"source": "csv"}}, "needs data.path"),
        ({"loss": {"type": "cross_entropy"}, "data": {"task": "binary"}}, "use bce or focal"),
        ({"loss": {"type": "bce"}, "data": {"task": "multiclass"}}, "use cross_entropy"),
        ({"model": {"architecture": "resnet50", "pretrained": "embedded"}}, "efficientnet_lite0"),
        ({"data": {"phantom": {"findings": ["nodul"]}}}, "did you mean 'nodule'"),
        ({"data": {"phantom": {"prevalence": [0.1, 0.2]}}}, "2 values for 3 findings"),
        ({"training": {"monitor": "macro_acu"}}, "did you mean 'macro_auc'"),
        ({"training": {"device": "gpu"}}, "use auto, cpu, cuda"),
        ({"training": {"learning_rate": float("nan")}}, "finite"),
        ({"run": {"name": "a/b"}}, "letters, digits"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(values: dict[str, object], said: str) -> None:
    assert any(said in fault for fault in faults_of(values)), faults_of(values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training: [unclosed", "not valid YAML"),
        ("- a\n- b", "mapping of sections"),
        ("training: {epochs: 1}\ntraining: {epochs: 2}", "stands twice"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="osler init"):
        load_config(tmp_path / "none.yaml")


def test_an_override_without_a_value_says_how_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_overrides(["training.epochs"])


def test_epochs_flag_is_the_most_that_a_phase_gets() -> None:
    values = {"training": {"phases": [{"train": "head", "epochs": 2}, {"train": "from:10", "epochs": 20}, {"train": "all"}]}}
    config = load_config(values, flags={"training.epochs": 10})
    assert [phase.epochs for phase in config.training.phases] == [2, 10, 10]


def test_lr_flag_is_for_the_phases_that_follow_the_training_section() -> None:
    head = {"train": "head", "learning_rate": 1e-3}
    config = load_config({"training": {"phases": [head, {"train": "all"}]}}, flags={"training.learning_rate": 1e-5})
    assert (config.training.phases[0].learning_rate, config.training.learning_rate) == (1e-3, 1e-5)
    with pytest.raises(ConfigError, match=r"every phase .* states a learning rate"):
        load_config({"training": {"phases": [head]}}, flags={"training.learning_rate": 1e-5})


def test_an_empty_section_means_its_defaults() -> None:
    assert load_config({"loss": None, "model": None}) == load_config({})


def test_a_key_that_is_no_text_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{[a]: 1}")
    with pytest.raises(ConfigError, match="cannot be a key"):
        load_config(path)


def test_null_is_off() -> None:
    config = load_config({"augmentation": None, "training": {"clip_norm": None, "early_stopping": None}})
    assert config.augmentation is None
    assert config.training.clip_norm is None
