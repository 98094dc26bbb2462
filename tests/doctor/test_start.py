"""How a diagnosis starts: what it imports, what it costs, and that its own reading of the command line is typer's."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from osler.cli import AT_ONCE, _plain_call, main

LOG = "epoch,train_loss,val_loss,val_auc,val_accuracy\n" + "".join(
    f"{k},{0.7 * 0.9**k:.4f},{0.7 * 0.92**k:.4f},{0.9 - 0.3 * 0.8**k:.4f},{0.8 - 0.2 * 0.8**k:.4f}\n" for k in range(12)
)
# What a diagnosis has no use for; each takes a part of the half second that it may take.
HEAVY = {"torch", "pandas", "matplotlib", "scipy", "pydantic", "rich", "jinja2", "yaml", "numpy.ma", "cv2"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def test_a_diagnosis_imports_little(log: Path) -> None:
    code = (
        "import sys, json\nfrom osler.cli import main\ntry:\n    main(['diagnose', sys.argv[1], '--json'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & HEAVY


@pytest.mark.long
def test_a_diagnosis_takes_half_a_second(log: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(log.parent / "compiled")
    costs = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "osler", "diagnose", log, "--json"], capture_output=True, check=True, env=environment
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs[1:]) < 0.5


# --- the command line ---------------------------------------------------------------------------------------------------------

PLAIN = [
    ["diagnose", "LOG", "--json"],
    ["diagnose", "--json", "LOG", "LOG"],
    ["diagnose", "LOG", "--fact", "task=binary", "--fact", "prevalence=10 %", "--fail-on", "note"],
    ["diagnose", "--out", "OUT", "LOG"],
    ["diagnose", "LOG", "--facts", "none.yaml"],
    ["diagnose", "none.csv"],
    ["faults"],
    ["faults", "--json"],
]
NOT_PLAIN = [
    ["diagnose"],
    ["diagnose", "LOG", "--jsn"],
    ["diagnose", "--help"],
    ["diagnose", "LOG", "--fact"],
    ["diagnose", "LOG", "--fact", "--json"],
    ["diagnose", "LOG", "--out=OUT"],
    ["diagnose", "LOG", "--fail_on", "note"],
    ["diagnose", "--", "LOG"],
    ["faults", "more"],
]


def filled(words: list[str], log: Path) -> list[str]:
    return [word.replace("LOG", str(log)).replace("OUT", str(log.parent / "out")) for word in words]


def outcome(words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    captured = capfd.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_plain_words_do_what_typer_does(
    words: list[str], log: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = filled(words, log)
    assert _plain_call(AT_ONCE[words[0]], words[1:]) is not None
    at_once = outcome(words, capfd)
    monkeypatch.setattr("osler.cli.AT_ONCE", {})
    assert outcome(words, capfd) == at_once


@pytest.mark.parametrize("words", NOT_PLAIN, ids=" ".join)
def test_all_else_is_left_to_typer(words: list[str], log: Path) -> None:
    words = filled(words, log)
    assert _plain_call(AT_ONCE[words[0]], words[1:]) is None
