"""A plain loop under watch: sick ones are named, a healthy one is left in peace, and the folder is one that `diagnose` reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import osler
from osler.adapters.watch import StoppedByDoctorError, Watch
from osler.doctor.command import diagnose_sources
from osler.errors import ConfigError, DataError, RequestError, RunError
from osler.runs.vitals import read_vitals

BCE = {"type": "bce"}
KNOWN = {"epochs": 10, "learning_rate": 1e-3}


def train(doctor: Watch, epochs: int = 8, lr: float = 3e-3, break_at: int = 99) -> list[str]:
    """A torch loop of its own: 20 figures a sample, the first of which tells the label."""
    torch.manual_seed(0)
    images = torch.randn(1200, 20)
    targets = (images[:, 0] + 0.5 * torch.randn(1200) > 1.0).float()
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    torch.nn.init.constant_(model[-1].bias, -1.4)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    found = []
    for epoch in range(epochs):
        for start in range(0, 800, 40):
            logits = model(images[start : start + 40])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[start : start + 40])
            if epoch >= break_at:
                loss = loss * torch.nan
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            doctor.step(loss, logits, targets[start : start + 40])
        for start in range(800, 1200, 100):
            with torch.no_grad():
                doctor.validate(model(images[start : start + 100])[:, 0], targets[start : start + 100])
        found += [finding.id for finding in doctor.epoch(lr=lr)]
    return found


def guess(doctor: Watch, epochs: int, rng: np.random.Generator, learn: float = 0.0) -> list[str]:
    """Numpy outputs of a network that ranks by `learn` per epoch, and by nothing else."""
    targets = (np.arange(600) % 10 == 0).astype(np.float64)
    found = []
    for epoch in range(1, epochs + 1):
        for split, rows in ((doctor.step, slice(0, 400)), (doctor.validate, slice(400, 600))):
            logits = -2.2 + 0.1 * rng.normal(size=600)[rows] + learn * epoch * (targets[rows] - 0.1)
            if split == doctor.step:
                doctor.step(float(np.logaddexp(0, np.where(targets[rows] == 1, -logits, logits)).mean()), logits, targets[rows])
            else:
                doctor.validate(logits, targets[rows])
        found += [finding.id for finding in doctor.epoch(lr=1e-3)]
    return found


def test_a_healthy_loop_is_left_in_peace_and_its_folder_is_diagnosed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = osler.watch(tmp_path / "mine", "binary", ["cancer"], loss=BCE, training={"epochs": 8, "learning_rate": 3e-3})
    assert train(doctor) == []
    page = doctor.close()
    assert page == tmp_path / "mine" / "report.html"
    assert "Diagnosis of mine" in page.read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""
    vitals = read_vitals(tmp_path / "mine" / "vitals.jsonl")
    assert [line["epoch"] for line in vitals] == list(range(1, 9))
    assert [line["step"] for line in vitals] == [20 * n for n in range(1, 9)]
    last = vitals[-1]
    assert last["val"]["macro"]["auc"] > 0.85
    assert 0 < last["val"]["skill"] < 1
    assert 0 < last["seconds"]["watch"] <= last["seconds"]["epoch"]
    assert (tmp_path / "mine" / "metrics.csv").read_text(encoding="utf-8").count("\n") == 9
    runs = diagnose_sources([tmp_path / "mine"]).runs
    assert [run.verdict for run in runs] == ["healthy"]
    assert runs[0].reader == "osler"
    assert json.loads((tmp_path / "mine" / "findings.json").read_text())["runs"][0]["verdict"] == "healthy"


def test_a_loop_that_learns_nothing_is_named_in_one_line_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = osler.watch(tmp_path / "mine", "binary", loss=BCE, training=KNOWN)
    found = guess(doctor, 10, np.random.default_rng(1))
    assert "not_learning" in found
    assert len(found) == len(set(found))
    said = capsys.readouterr().err.splitlines()
    line = next(line for line in said if "Nothing is learned" in line)
    assert "· evidence: " in line
    assert "· prescription: " in line
    assert len(said) == len(found)
    doctor.close()
    assert "not_learning" in [finding.id for finding in diagnose_sources([tmp_path / "mine"]).runs[0].findings]


def test_a_loss_that_is_no_number_is_critical_and_stops_where_asked(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path / "mine", "binary", loss=BCE, training=KNOWN, stop_on="critical")
    with pytest.raises(StoppedByDoctorError, match="not a finite number") as stopped:
        train(doctor, break_at=2)
    assert [finding.id for finding in stopped.value.findings] == ["non_finite"]
    assert doctor.epochs == 3
    assert (tmp_path / "mine" / "report.html").is_file()
    facts = json.loads((tmp_path / "mine" / "facts.json").read_text())
    assert facts["stop_reason"] == "stopped by the doctor (stop_on='critical')"
    with pytest.raises(RequestError, match="closed"):
        doctor.epoch(train_loss=1.0)


def test_an_optimiser_adds_what_its_steps_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, weight_decay=1e-2)
    doctor = osler.watch(tmp_path, "binary", loss=BCE, training=KNOWN, optimizer=optimizer)
    assert "stated as 0.001, and the optimiser begins at 0" in capsys.readouterr().err
    for _ in range(4):
        for number in range(5):
            torch.manual_seed(number)
            logits, targets = model(torch.randn(16, 3))[:, 0], (torch.arange(16) % 2).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            doctor.step(loss, logits, targets)
        new = doctor.epoch()
    vitals = read_vitals(tmp_path / "vitals.jsonl")[-1]
    assert vitals["learning_rate"] == {"start": 0.0, "end": 0.0}
    assert vitals["optimization"]["update_ratio"]["max"] == 0.0
    assert vitals["optimization"]["gradient_norm"]["median"] > 0
    assert "frozen_network" in [finding.id for finding in (*new, *doctor.findings)]


def test_the_stated_loss_fills_in_for_a_validation_loss_that_nobody_gave(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path, "binary", loss={"type": "bce", "pos_weight": 4.4})
    logits, targets = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([1.0, 0.0, 1.0])
    doctor.validate(logits, targets)
    doctor.epoch(train_loss=1.0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.tensor(4.4))
    doctor.validate(logits, targets, loss=7.0)
    doctor.epoch()
    doctor.validate(logits, targets, loss=7.0)
    doctor.epoch(val_loss=8.0)
    losses = [line["val"]["loss"]["value"] for line in read_vitals(tmp_path / "vitals.jsonl")]
    assert losses == pytest.approx([float(expected), 7.0, 8.0])


def test_a_binary_softmax_of_two_outputs_has_the_floor_of_its_loss(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    doctor = osler.watch(tmp_path, "binary", loss=criterion)
    pair, targets = torch.tensor(rng.normal(size=(50, 2))), torch.tensor(np.arange(50) % 5 == 0).long()
    doctor.validate(pair, targets)
    doctor.epoch()
    found = read_vitals(tmp_path / "vitals.jsonl")[0]["val"]
    loss = torch.nn.functional.cross_entropy(pair, targets, weight=torch.tensor([1.0, 3.0], dtype=pair.dtype))
    assert found["loss"]["value"] == pytest.approx(float(loss))
    share = 10 * 3 / (10 * 3 + 40)
    assert found["floor"] == pytest.approx(-(share * np.log(share) + (1 - share) * np.log(1 - share)))
    assert list(found["classes"]) == ["positive"]


def test_masks_are_watched_and_empty_predictions_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    doctor = osler.watch(tmp_path, "segmentation", ["lesion"], loss={"type": "dice"}, training={"epochs": 8})
    truth = np.zeros((16, 1, 24, 24))
    truth[:, 0, 4:9, 4:9] = 1
    for _ in range(8):
        for rows in (slice(0, 8), slice(8, 16)):
            outputs = torch.tensor(-6 + 0.1 * rng.normal(size=(8, 1, 24, 24)), dtype=torch.float32)
            doctor.step(torch.tensor(0.97), outputs, torch.tensor(truth[rows]))
            doctor.validate(outputs, torch.tensor(truth[rows]), loss=0.97)
        doctor.epoch()
    found = read_vitals(tmp_path / "vitals.jsonl")[-1]
    assert found["val"]["classes"]["lesion"]["empty_predictions"] == 1.0
    assert found["val"]["classes"]["lesion"]["dice"] == 0.0
    assert found["val"]["classes"]["lesion"]["reasons"]["hd95"] == "not measured"
    assert found["sampling"]["batches_without_positives"] == {"lesion": 0.0}
    assert found["val"]["floor"] < 0.97
    assert "empty_masks" in [each.id for finding in doctor.findings for each in (finding, *finding.symptoms)]


def test_patients_of_both_splits_are_found_out(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path, "binary")
    for _ in range(3):
        doctor.step(0.5, np.zeros(4), np.array([0, 1, 0, 1]), patients=["a", "a", "b", "c"])
        doctor.validate(np.zeros(3), np.array([0, 1, 1]), patients=np.array(["c", "d", "e"]))
        doctor.epoch()
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["patients.train"], facts["patients.val"], facts["split.patients_shared"]) == (3, 3, 1)
    assert facts["samples.train"] == 4


def test_a_loss_other_than_the_stated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = osler.watch(tmp_path, "binary", loss={"type": "bce", "pos_weight": 9.0})
    logits, targets = torch.zeros(40), (torch.arange(40) % 4 == 0).float()
    doctor.step(torch.nn.functional.binary_cross_entropy_with_logits(logits, targets), logits, targets)
    doctor.epoch()
    assert "the training loss is 0.6931, and the stated loss makes 2.079" in capsys.readouterr().err


def test_losses_alone_are_watched_too(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path, "multilabel")
    for epoch in range(3):
        doctor.step(1.0 / (epoch + 1))
        doctor.epoch(lr=1e-3, val_loss=1.0)
    line = read_vitals(tmp_path / "vitals.jsonl")[-1]
    assert line["train"]["loss"]["value"] == pytest.approx(1 / 3)
    assert line["val"]["skill"] is None
    assert diagnose_sources([tmp_path]).runs[0].verdict == "undecided"


def test_a_watch_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path, "binary", loss=BCE)
    guess(doctor, 2, np.random.default_rng(0), learn=1.0)
    with (tmp_path / "vitals.jsonl").open("a") as file:
        file.write('{"schema": "osler.vitals/1", "epo')
    with pytest.raises(RunError, match="resume=True"):
        osler.watch(tmp_path, "binary")
    again = osler.watch(tmp_path, "binary", loss=BCE, resume=True)
    guess(again, 1, np.random.default_rng(1), learn=1.0)
    lines = read_vitals(tmp_path / "vitals.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert again.diagnosis is not None
    assert again.diagnosis.chart is not None
    assert len(again.diagnosis.chart) == 3


def test_leaving_the_block_closes_and_an_error_is_told(tmp_path: Path) -> None:
    def loop() -> None:
        with osler.watch(tmp_path, "binary") as doctor:
            doctor.epoch(train_loss=1.0)
            raise KeyError("mine")

    with pytest.raises(KeyError):
        loop()
    assert json.loads((tmp_path / "facts.json").read_text())["stop_reason"] == "the loop ended by KeyError"
    assert (tmp_path / "report.html").is_file()


def test_closing_without_an_epoch_writes_nothing(tmp_path: Path) -> None:
    assert osler.watch(tmp_path / "mine", "binary").close() is None
    assert list((tmp_path / "mine").iterdir()) == []


def test_mistakes_in_the_first_batch_are_refused_at_once(tmp_path: Path) -> None:
    doctor = osler.watch(tmp_path, "binary")
    with pytest.raises(DataError, match=r"0\.25 are no labels"):
        doctor.step(0.5, torch.zeros(2), torch.tensor([0.25, 1.0]))
    with pytest.raises(DataError, match="one of them is missing"):
        doctor.step(0.5, torch.zeros(2))
    with pytest.raises(RequestError, match="nothing was recorded"):
        osler.watch(tmp_path / "other", "binary").epoch()
    named = osler.watch(tmp_path / "third", "multilabel", ["a", "b"])
    with pytest.raises(ConfigError, match=r"2 classes are named \(a, b\), and the outputs have 3"):
        named.step(0.5, np.zeros((4, 3)), np.zeros((4, 3)))
    weighted = osler.watch(tmp_path / "fourth", "multilabel", loss={"type": "bce", "pos_weight": [1.0, 2.0]})
    with pytest.raises(ConfigError, match="2 values for 3 classes"):
        weighted.step(0.5, np.zeros((4, 3)), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"task": "binry"}, "Did you mean 'binary'"),
        ({"task": "binary", "outputs": "probs"}, "osler.watch: outputs"),
        ({"task": "binary", "stop_on": "note"}, "osler.watch: stop_on"),
    ],
)
def test_unknown_words_are_answered_with_the_known_ones(tmp_path: Path, stated: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        osler.watch(tmp_path, **stated)


def test_a_folder_with_a_run_of_osler_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(RunError, match="holds a run already"):
        osler.watch(tmp_path, "binary", resume=True)


def test_a_loop_in_numpy_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, tempfile, numpy as np, osler\n"
        "sys.modules |= dict.fromkeys(('pytorch_lightning', 'keras', 'transformers'))\n"
        "import osler.adapters.for_lightning, osler.adapters.for_keras, osler.adapters.for_transformers\n"
        "doctor = osler.watch(tempfile.mkdtemp(), 'binary', loss={'type': 'bce'})\n"
        "doctor.step(0.7, np.zeros(8), np.arange(8) % 2)\n"
        "doctor.validate(np.zeros((8, 1)), np.arange(8) % 2)\n"
        "doctor.epoch(lr=1e-3)\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_probabilities_and_logits_of_one_network_have_the_same_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    logits, targets = rng.normal(size=(80, 3)), (rng.random((80, 3)) < 0.3).astype(float)
    for name, outputs in (("logits", logits), ("probabilities", 1 / (1 + np.exp(-logits)))):
        doctor = osler.watch(tmp_path / name, "multilabel", outputs=name, loss=BCE)  # type: ignore[arg-type]
        doctor.validate(outputs, targets)
        doctor.epoch()
    one, other = (read_vitals(tmp_path / name / "vitals.jsonl")[0]["val"] for name in ("logits", "probabilities"))
    assert other["loss"]["value"] == pytest.approx(one["loss"]["value"])
    assert other["classes"]["1"]["auc"] == one["classes"]["1"]["auc"]
    assert other["classes"]["1"]["logit"] == pytest.approx(one["classes"]["1"]["logit"])
