"""Any file at all: logs of every kind, damaged as logs are and as none is, are read and diagnosed, or refused with a reason."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.doctor.command import Diagnoses, diagnose_sources
from osler.doctor.readers.eventfile import _masked_crc
from osler.doctor.report.pages import run_page

E = range(1, 13)
LOSS = [0.69 * 0.9**epoch for epoch in E]
AUC = [0.9 - 0.4 * 0.8**epoch for epoch in E]
ROWS = list(zip(E, LOSS, AUC, strict=True))


def _event_file() -> bytes:
    """TensorBoard's format: length, its checksum, the event, its checksum."""

    def record(event: bytes) -> bytes:
        head = struct.pack("<Q", len(event))
        return head + struct.pack("<I", _masked_crc(head)) + event + struct.pack("<I", _masked_crc(event))

    def inner(key: bytes, value: bytes) -> bytes:
        return key + bytes([len(value)]) + value

    events = [record(b"\x09" + struct.pack("<d", 1e9) + inner(b"\x1a", b"brain.Event:2"))]
    for epoch, loss, _ in ROWS:
        summary = inner(b"\x0a", inner(b"\x0a", b"val/loss") + b"\x15" + struct.pack("<f", loss))
        events.append(record(b"\x09" + struct.pack("<d", 1e9 + epoch) + b"\x10" + bytes([epoch]) + inner(b"\x2a", summary)))
    return b"".join(events)


def _written(head: str, line: Callable[[int, float, float], str]) -> bytes:
    """A log of a head and something for each epoch: its number, its loss, its AUC."""
    return (head + "".join(line(*row) for row in ROWS)).encode()


def _vitals(epoch: int, loss: float, auc: float) -> str:
    mass = {"auc": auc, "prevalence": 0.3, "positive_rate": 0.2, "n": 500}
    val = {"loss": {"value": loss, "se": 0.01}, "floor": 0.69, "n": 500, "macro": {"auc": auc}, "classes": {"Mass": mass}}
    steps = {"gradient_norm": {"median": 0.5, "max": 2.0}, "update_ratio": {"median": 1e-3}}
    whole = {"schema": "osler.vitals/1", "epoch": epoch, "train": {"loss": {"value": loss}}, "val": val, "optimization": steps}
    return json.dumps(whole) + "\n"


STAMP = "2026-01-01 10:00:00.1:"
HISTORY = {"loss": LOSS, "val_loss": LOSS, "val_auc": AUC, "lr": [1e-3] * len(LOSS)}
STATES = [{"epoch": float(k), "loss": x, "eval_loss": y, "step": 10 * k} for k, x, y in ROWS]
GERMAN = _written("epoch;loss;val_loss;val_acc\n", lambda k, x, y: f"{k};{x:.4f};{x:.4f};{y:.1%}\n").replace(b".", b",")
# A log of each kind that is read, by the name that it usually has.
LOGS: dict[str, bytes] = {
    "log.csv": _written("epoch,train_loss,val_loss,val_auc\n", lambda k, x, y: f"{k},{x:.4f},{x:.3f},{y:.4f}\n"),
    "metrics.csv": _written("epoch,train_loss,val_loss,val_acc\n", lambda k, x, y: f"{k},{x:.4f},,\n{k},,{x:.4f},{y}\n"),
    "de.csv": GERMAN,
    "run.md": _written("| epoch | loss | val F1 |\n|--|--|--|\n", lambda k, x, y: f"| {k} | {x:.4f} | {y:.2%} |\n"),
    "history.json": json.dumps(HISTORY).encode(),
    "log.jsonl": _written("", lambda k, x, y: json.dumps({"epoch": k, "train": {"loss": x}, "val": {"auc": y}}) + "\n"),
    "trainer_state.json": json.dumps({"log_history": STATES}).encode(),
    "vitals.jsonl": _written("", _vitals),
    "training_log.txt": _written(
        "", lambda k, x, y: f"{STAMP} Epoch {k} \n{STAMP} train_loss {-x:.4f} \n{STAMP} Pseudo dice [{y:.3f}, nan] \n"
    ),
    "out.log": _written("", lambda k, x, y: f"Epoch {k}/12\n 50/50 [====] - 3s - loss: {x:.4f} - val_auc: {y:.4f}\n"),
    "events.out.tfevents.1.host": _event_file(),
}
# What stands in logs where a number should, in any language and from any broken run.
ODD = [
    b"nan", b"NaN", b"inf", b"-Infinity", b"1e400", b"1e-400", b"", b"None", b"null", b"0,5", b"1.234,56", b"1 234.5", b"12 %",
    b"-1", b"0", b"1", b"999999999999999999999", b"tensor(0.5)", b"[0.1, 0.2]", "٣".encode(), "²".encode(), b"--", b"1e", b"0x1F",
    b"true", b"\xff\xfe", b"\x00", b'"', b"\r", b"Epoch 1/5", b"{", b"}",
]  # fmt: skip
SPLITTERS = (b"\n", b",", b" ", b"|", b":", b";")

Change = tuple[str, float, float, int]


def _cut(data: bytes, first: float, second: float, _: int) -> bytes:
    start, end = sorted((int(first * len(data)), int(second * len(data))))
    return data[:start] + data[end:]


def _keep(data: bytes, first: float, second: float, _: int) -> bytes:
    return data[: int(max(first, second) * len(data))]


def _lines(data: bytes, first: float, second: float, number: int) -> bytes:
    """A line doubled, dropped, or moved elsewhere."""
    lines = data.split(b"\n")
    one, other = int(first * len(lines)), int(second * len(lines))
    if number % 3 == 0:
        lines.insert(other, lines[one])
    elif number % 3 == 1:
        del lines[one]
    else:
        lines.insert(other, lines.pop(one))
    return b"\n".join(lines)


def _word(data: bytes, first: float, second: float, number: int) -> bytes:
    """A figure, or whatever stands between two separators, replaced by something odd."""
    parts = data.split(SPLITTERS[number % len(SPLITTERS)])
    parts[int(first * len(parts))] = ODD[int(second * len(ODD))]
    return SPLITTERS[number % len(SPLITTERS)].join(parts)


def _column(data: bytes, first: float, second: float, number: int) -> bytes:
    """The same field of every line replaced by something odd: a run of NaN, of zeros, of one epoch over and over."""
    sign = SPLITTERS[1 + number % (len(SPLITTERS) - 1)]
    rows = [line.split(sign) for line in data.split(b"\n")]
    place = int(first * max(len(row) for row in rows))
    odd = ODD[int(second * len(ODD))]
    for line, row in enumerate(rows):
        if line and place < len(row):
            row[place] = odd
    return b"\n".join(sign.join(row) for row in rows)


def _bytes(data: bytes, first: float, second: float, number: int) -> bytes:
    start = int(first * len(data))
    noise = np.random.default_rng(number).integers(0, 256, 1 + int(20 * second)).astype(np.uint8).tobytes()
    return data[:start] + noise + data[start + (len(noise) if number % 2 else 0) :]


def _signs(data: bytes, _: float, __: float, number: int) -> bytes:
    """Another locale, other line ends, another encoding."""
    changes: list[Callable[[bytes], bytes]] = [
        lambda data: data.replace(b".", b","), lambda data: data.replace(b",", b";"), lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r"), lambda data: data.decode("latin-1").encode("utf-16"),
        lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"-", b""), lambda data: data + data,
        lambda data: data.replace(b"0.", b"."), lambda data: data.replace(b"0", b""), lambda data: data.upper(),
    ]  # fmt: skip
    return changes[number % len(changes)](data)


CHANGES = {"cut": _cut, "keep": _keep, "lines": _lines, "word": _word, "column": _column, "bytes": _bytes, "signs": _signs}
SHARES = st.floats(0, 1, exclude_max=True)
DAMAGE = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), SHARES, SHARES, st.integers(0, 10_000)), max_size=5)
FACTS = (
    (), ("task=binary", "loss.type=bce", "prevalence=0.3", "samples.val=500", "loss.pos_weight=2"),
    ("task=segmentation", "empty.val=0.3"),
    ("task=multilabel", "classes=14", "loss.type=focal", "loss.gamma=9", "training.epochs=20", "data.sampler=weighted"),
)  # fmt: skip


def damaged(name: str, damage: list[Change]) -> bytes:
    data = LOGS[name]
    for kind, first, second, number in damage:
        data = CHANGES[kind](data, first, second, number) or b" "
    return data


def examine(path: Path, data: bytes, facts: tuple[str, ...], pages: bool = False) -> Diagnoses:
    """The diagnosis of a file, whatever it holds; every promise that is made of any input is held here."""
    path.write_bytes(data)
    found = diagnose_sources([path], facts)
    assert found.runs
    json.loads(found.json_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found.text()
    for run in found.runs:
        assert (run.verdict == "refused") == (run.error is not None)
        assert not [each for each in run.not_assessed if "this rule can work with" in each.needs]
        if pages:
            assert run_page(run).html()
    return found


@pytest.mark.parametrize("name", LOGS)
def test_the_logs_are_read_before_they_are_damaged(tmp_path: Path, name: str) -> None:
    runs = examine(tmp_path / name, LOGS[name], (), pages=True).runs
    assert [len(run.chart) for run in runs if run.chart is not None] == [len(E)]


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LOGS)), DAMAGE, st.sampled_from(FACTS))
def test_a_damaged_log_is_diagnosed_or_refused(tmp_path: Path, name: str, damage: list[Change], facts: tuple[str, ...]) -> None:
    examine(tmp_path / name, damaged(name, damage), facts)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LOGS)), DAMAGE.filter(bool))
def test_a_damaged_log_has_a_page(tmp_path: Path, name: str, damage: list[Change]) -> None:
    examine(tmp_path / name, damaged(name, damage), (), pages=True)


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(LOGS)), DAMAGE, st.sampled_from(FACTS))
def test_ten_thousand_damaged_logs(tmp_path: Path, name: str, damage: list[Change], facts: tuple[str, ...]) -> None:
    examine(tmp_path / name, damaged(name, damage), facts, pages=len(damage) == 5 and damage[0][3] < 1000)


@pytest.mark.parametrize(
    ("data", "epochs"),
    [
        (b"epoch,loss,val_auc\n1,0.7,0.5\n", 1),
        (b"epoch,loss\n" + b"".join(b"%d,nan\n" % k for k in range(9)), 9),
        (b"epoch,loss\n" + b"".join(b"%d,%d\n" % (k // 2, k) for k in range(20)), 10),
        (b"epoch,loss\n1,0.7\n2,0.6\n9,0.5\n40,0.4\n", 4),
        (b"epoch;loss;val_loss\n1;0,7;0.7\n2;0,6;0.65\n3;0,5;0.6\n", 3),
        (b"epoch,loss,loss,loss\n1,0.7,0.6,0.5\n2,0.7,0.6,0.5\n", 2),
        (b"epoch,train_loss\n" + b"".join(b"%d,1e308\n" % k for k in range(9)), 9),
        (b"epoch,train_loss,val_auc\n" + b"".join(b"%d,0,1\n" % k for k in range(9)), 9),
    ],
    ids=["one epoch", "NaN", "each twice", "gaps", "two locales", "one name thrice", "huge", "constant"],
)
def test_logs_that_are_odd_but_whole(tmp_path: Path, data: bytes, epochs: int) -> None:
    (run,) = examine(tmp_path / "log.csv", data, FACTS[1], pages=True).runs
    assert run.chart is not None
    assert len(run.chart) == epochs


@pytest.mark.long
def test_a_million_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((1_000_000, 3)).round(4).tolist()
    data = "epoch,train_loss,val_loss,val_auc\n" + "".join(f"{k},{a},{b},{c}\n" for k, (a, b, c) in enumerate(rows))
    (run,) = examine(tmp_path / "log.csv", data.encode(), FACTS[1]).runs
    assert run.chart is not None
    assert len(run.chart) == 1000
    assert "joined to 1000 blocks" in " ".join(run.chart.notes)
