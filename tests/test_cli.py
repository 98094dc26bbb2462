"""The command line's contract: results alone on stdout, one message and exit code 2 for the user's mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from osler.cli import main
from osler.config import Config, config_to_yaml, load_config


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def config_file(tiny: Callable[..., Config], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(tiny(training={"epochs": 1})))
    return path


def test_the_way_through_the_commands(config_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run("train", config_file, "training.epochs=2", "--run", folder, "--epochs", "1") == 0
    trained = capfd.readouterr()
    assert trained.out.splitlines() == [str(folder)]
    assert "Epoch 1/1" in trained.err

    assert run("resume", folder) == 0
    assert capfd.readouterr().out.splitlines() == [str(folder)]

    assert run("evaluate", folder, "--json") == 0
    evaluated = json.loads(capfd.readouterr().out)
    assert evaluated["schema"] == "osler.evaluation/1"
    assert evaluated == json.loads((folder / "evaluation.json").read_text())
    assert (folder / "report.html").stat().st_size > 10_000

    image = tmp_path / "film.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8))
    assert run("predict", folder, image, "--out", tmp_path / "out") == 0
    predicted = capfd.readouterr()
    table = Path(predicted.out.strip())
    assert table == tmp_path / "out" / "predictions.csv"
    assert "probability cardiomegaly" in table.read_text()
    assert "Not a medical device" in predicted.err


def test_show_config_prints_what_reads_back(config_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("show-config", config_file, "training.learning_rate=1e-4") == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capfd.readouterr().out)
    config = load_config(shown)
    assert config.training.learning_rate == 1e-4
    assert config.preparation.size == 32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "none.yaml"], "no such configuration file"),
        (["train", "CONFIG", "trainig.epochs=1"], "Did you mean 'training'"),
        (["resume", "none"], "no such run folder"),
        (["evaluate", "none"], "no such run folder"),
        (["predict", "none", "x.png"], "no such run folder"),
        (["init", "none"], "none"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    config_file: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(*(str(config_file) if argument == "CONFIG" else argument for argument in arguments)) == 2
    captured = capfd.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="no such configuration file"):
        main(["--debug", "train", "none.yaml"])


def test_init_writes_a_config_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, light in (("normal", 60), ("pneumonia", 160)):
        (tmp_path / "films" / name).mkdir(parents=True)
        for i in range(30):
            cv2.imwrite(str(tmp_path / "films" / name / f"{i}.png"), rng.integers(0, light, (40, 40), np.uint8))
    assert run("init", "films", "--out", "films.yaml") == 0
    assert Path(capfd.readouterr().out.strip()).name == "films.yaml"
    assert run("train", "films.yaml", "--dev-mode", "--epochs", "1", "--run", "run") == 0
    assert capfd.readouterr().out.splitlines() == [str(tmp_path / "run")]


def test_models_lists_the_architectures(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert "densenet121" in capfd.readouterr().out


def test_version_and_help_are_quick_to_say() -> None:
    from osler import __version__

    done = subprocess.run(
        [sys.executable, "-c", "from osler.cli import main; main(['--version'])"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"osler {__version__}"


def test_balance_and_look_tell_and_show(config_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("balance", config_file, "--batches", 5, "--json") == 0
    assert json.loads(capfd.readouterr().out)["schema"].startswith("osler.balance/")
    assert run("look", config_file, "--samples", 20, "--out", tmp_path / "look") == 0
    assert (tmp_path / "look" / "look.html").exists()
    assert capfd.readouterr().out.strip()
