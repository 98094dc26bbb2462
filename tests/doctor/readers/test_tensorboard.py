"""TensorBoard event files, written here byte by byte as the format's own description says."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.doctor.diagnose import diagnose
from osler.doctor.readers.choose import read_charts
from osler.doctor.readers.eventfile import _masked_crc, is_event_file, read_events
from osler.errors import DataError

Scalar = tuple[str, int, float]


def varint(value: int) -> bytes:
    done = b""
    while value > 0x7F:
        done += bytes([value & 0x7F | 0x80])
        value >>= 7
    return done + bytes([value])


def field(number: int, wire: int, value: bytes) -> bytes:
    return varint(number << 3 | wire) + (varint(len(value)) + value if wire == 2 else value)


def record(event: bytes) -> bytes:
    head = struct.pack("<Q", len(event))
    return head + struct.pack("<I", _masked_crc(head)) + event + struct.pack("<I", _masked_crc(event))


def event(step: int, time: float, value: bytes) -> bytes:
    return record(field(1, 1, struct.pack("<d", time)) + field(2, 0, varint(step % 2**64)) + field(5, 2, field(1, 2, value)))


def simple(tag: str, value: float) -> bytes:
    return field(1, 2, tag.encode()) + field(2, 5, struct.pack("<f", value))


def tensor(tag: str, value: float) -> bytes:
    plugin = field(9, 2, field(1, 2, field(1, 2, b"scalars")))
    return (
        field(1, 2, tag.encode())
        + plugin
        + field(8, 2, field(1, 0, varint(1)) + field(2, 2, b"") + field(4, 2, struct.pack("<f", value)))
    )


def event_file(scalars: Iterable[Scalar], make: Callable[[str, float], bytes] = simple, start: float = 1e9) -> bytes:
    version = record(field(1, 1, struct.pack("<d", start)) + field(3, 2, b"brain.Event:2"))
    return version + b"".join(
        event(step, start + place + 1, make(tag, value)) for place, (tag, step, value) in enumerate(scalars)
    )


def put(folder: Path, data: bytes, name: str = "events.out.tfevents.1.host") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


def by_epoch(epochs: Iterable[int]) -> list[Scalar]:
    return [
        (tag, epoch, base / (1 + epoch))
        for epoch in epochs
        for tag, base in (("Loss/train", 1.0), ("Loss/val", 1.2), ("AUC/val", 0.9))
    ]


@pytest.mark.parametrize("make", [simple, tensor])
def test_steps_that_are_epochs(tmp_path: Path, make: Callable[[str, float], bytes]) -> None:
    (chart,) = read_charts(put(tmp_path, event_file(by_epoch(range(4)), make)))
    assert chart.reader == "tensorboard"
    assert chart.epochs.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(chart.values("train.loss"), [1, 1 / 2, 1 / 3, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(chart.values("val.auc"), [0.9, 0.45, 0.3, 0.225], rtol=1e-6)
    assert chart.series["val.auc"].where == "tag AUC/val"


def test_keras_folders_are_one_run(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        scalars = [(tag, step, 0.5 + step / 10) for step in range(3) for tag in ("epoch_loss", "epoch_auc")]
        put(tmp_path / split, event_file(scalars, tensor))
    (chart,) = read_charts(tmp_path)
    assert set(chart.series) == {"train.loss", "train.auc", "val.loss", "val.auc"}
    assert chart.epochs.tolist() == [0, 1, 2]


def test_add_scalars_folders_are_one_run(tmp_path: Path) -> None:
    for split in ("train", "val"):
        put(tmp_path / "run" / f"Loss_{split}", event_file([("Loss", epoch, 0.5) for epoch in range(3)]))
    (chart,) = read_charts(tmp_path)
    assert set(chart.series) == {"train.loss", "val.loss"}


def test_folders_of_runs_are_several(tmp_path: Path) -> None:
    for name in ("lr_1", "lr_2"):
        put(tmp_path / name, event_file(by_epoch(range(3))))
    charts = read_charts(tmp_path)
    assert [chart.source.rpartition("#")[2] for chart in charts] == ["lr_1", "lr_2"]


def test_steps_that_are_batches_with_the_epoch_logged(tmp_path: Path) -> None:
    """Lightning logs the epoch as a scalar at every step that it logs."""
    scalars: list[Scalar] = []
    for step in range(10, 61, 10):
        scalars += [("epoch", step, float((step - 1) // 20)), ("train_loss_step", step, 1 / step)]
        if step % 20 == 0:
            scalars += [("val_loss", step, 2 / step), ("train_loss_epoch", step, 3 / step)]
    (chart,) = read_charts(put(tmp_path, event_file(scalars)))
    assert chart.epochs.tolist() == [0, 1, 2]
    np.testing.assert_allclose(chart.values("val.loss"), [0.1, 0.05, 2 / 60], rtol=1e-6)
    np.testing.assert_allclose(chart.values("train.loss"), [0.15, 0.075, 0.05], rtol=1e-6)
    assert chart.traces["train.loss"].steps.tolist() == [10, 20, 30, 40, 50, 60]


def test_steps_that_are_batches_without_it(tmp_path: Path) -> None:
    scalars: list[Scalar] = []
    for step in range(100, 601, 50):
        scalars.append(("loss", step, step / 1000))
        if step % 200 == 0:
            scalars.append(("val/loss", step, step / 1000))
    (chart,) = read_charts(put(tmp_path, event_file(scalars)))
    assert chart.axis == "evaluation"
    np.testing.assert_allclose(chart.values("train.loss"), [0.15, 0.325, 0.525], rtol=1e-6)


def test_one_tag_by_batch_and_one_by_epoch(tmp_path: Path) -> None:
    """Two counts in one file are brought together by the clock; what follows the last epoch is left out."""
    scalars: list[Scalar] = []
    for step in range(1, 36):
        scalars.append(("Loss/Trainstep", step * 7, float(step)))
        if step % 10 == 0:
            scalars += [("Loss/Epoch", step // 10, 5.0), ("Loss/Val/Epoch", step // 10, 6.0)]
    (chart,) = read_charts(put(tmp_path, event_file(scalars)))
    assert chart.epochs.tolist() == [1, 2, 3]
    assert chart.values("train.loss").tolist() == [5, 5, 5]
    assert chart.traces["train.loss"].epochs.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert any("last whole epoch" in note for note in chart.notes)


def test_a_resumed_run_writes_on(tmp_path: Path) -> None:
    put(tmp_path, event_file(by_epoch(range(5)), start=1e9), "events.out.tfevents.1")
    put(
        tmp_path,
        event_file([(tag, step, value + 10) for tag, step, value in by_epoch(range(3, 6))], start=2e9),
        "events.out.tfevents.2",
    )
    (chart,) = read_charts(tmp_path)
    assert chart.epochs.tolist() == [0, 1, 2, 3, 4, 5]
    assert (chart.values("val.loss") > 5).tolist() == [False, False, False, True, True, True]


def test_a_second_run_in_the_folder_is_another(tmp_path: Path) -> None:
    for number in (1, 2):
        put(tmp_path, event_file(by_epoch(range(3)), start=number * 1e9), f"events.out.tfevents.{number}")
    assert len(read_charts(tmp_path)) == 2


def test_a_tag_that_alone_begins_again_twice(tmp_path: Path) -> None:
    """The first file's points of that tag are all written anew by the second, and the third has it again."""
    clock = [("epoch", step, float(step)) for step in range(12)]
    for number, first in enumerate((0, 3, 6), 1):
        again = [tag for tag in clock if first or tag[1] < 3]
        put(
            tmp_path,
            event_file([*by_epoch(range(first, first + 3)), *again], start=number * 1e9),
            f"events.out.tfevents.{number}",
        )
    (chart,) = read_charts(tmp_path)
    assert chart.epochs.tolist() == list(range(9))
    assert np.isfinite(chart.values("val.loss")).all()


def test_a_run_half_of_whose_tags_begin_again_is_another(tmp_path: Path) -> None:
    """Keras counts batches on through several fits, and epochs from 0."""
    for number in range(2):
        batches = [("evaluation_loss_vs_iterations", 30 * number + 10 * e, 0.9 - e / 10) for e in (1, 2, 3)]
        epochs = [("epoch_loss", e, 0.9 - e / 10) for e in range(3)]
        put(tmp_path / "validation", event_file([*batches, *epochs], start=(number + 1) * 1e9), f"events.out.tfevents.{number}")
    assert len(read_charts(tmp_path)) == 2


def test_keras_validation_in_a_folder_of_another_name(tmp_path: Path) -> None:
    figures = [(tag, step, 0.9 - step / 10) for step in range(4) for tag in ("epoch_loss", "evaluation_loss_vs_iterations")]
    (chart,) = read_charts(put(tmp_path / "mine", event_file(figures)))
    assert set(chart.series) == {"val.loss"}


def test_a_damaged_file_among_others_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "a", event_file(by_epoch(range(4))))
    put(tmp_path / "b", b"no events at all")
    (chart,) = read_charts(tmp_path)
    assert len(chart) == 4
    assert "passed over" in chart.notes[-1]
    assert "checksum" in chart.notes[-1]


def test_a_file_that_breaks_off_is_read_so_far(tmp_path: Path) -> None:
    data = event_file(by_epoch(range(4)))
    (chart,) = read_charts(put(tmp_path, data[:-20]))
    assert len(chart) == 4
    assert np.isnan(chart.values("val.auc")[-1])
    assert any("breaks off" in note for note in chart.notes)
    middle = bytearray(data)
    middle[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    assert read_charts(put(tmp_path, bytes(middle)))[0].notes


def test_event_files_are_known_by_content(tmp_path: Path) -> None:
    data = event_file(by_epoch(range(3)))
    assert is_event_file(data)
    assert read_charts(put(tmp_path, data, "renamed.bin"))[0].reader == "tensorboard"


def test_what_holds_no_scalars_is_refused(tmp_path: Path) -> None:
    graph = record(field(1, 1, struct.pack("<d", 1e9)) + field(4, 2, b"graph"))
    with pytest.raises(DataError, match="only a graph"):
        read_charts(put(tmp_path, graph))
    with pytest.raises(DataError, match="known as a loss or score"):
        read_charts(put(tmp_path, event_file([("weather", 1, 0.5)])))
    with pytest.raises(DataError, match="checksum"):
        read_charts(put(tmp_path, b"no events at all"))


def test_numbers_of_every_type_and_field() -> None:
    def with_tensor(content: bytes) -> bytes:
        plugin = field(9, 2, field(1, 2, field(1, 2, b"scalars")))
        return event(1, 1e9, field(1, 2, b"loss") + plugin + field(8, 2, content))

    tensors = {
        "float_val": field(1, 0, varint(1)) + field(5, 2, struct.pack("<f", 0.5)),
        "float_val, not packed": field(1, 0, varint(1)) + field(5, 5, struct.pack("<f", 0.5)),
        "double content": field(1, 0, varint(2)) + field(4, 2, struct.pack("<d", 0.5)),
        "half_val": field(1, 0, varint(19)) + field(13, 2, varint(0x3800)),
        "bfloat16 content": field(1, 0, varint(14)) + field(4, 2, b"\x00\x3f"),
    }
    for name, content in tensors.items():
        assert read_events(with_tensor(content), name).scalars["loss"][0][2] == 0.5, name
    negative = field(1, 0, varint(9)) + field(10, 2, varint((1 << 64) - 3))
    assert read_events(with_tensor(negative), "int64").scalars["loss"][0][2] == -3.0
    two = field(1, 0, varint(1)) + field(4, 2, struct.pack("<ff", 0.5, 0.6))
    assert not read_events(with_tensor(two), "vector").scalars


def test_the_same_as_tensorboard_reads(tmp_path: Path) -> None:
    loader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_file_loader", reason="compares with TensorBoard's own reader"
    )
    path = put(tmp_path, event_file(by_epoch(range(5))))
    theirs = [
        (value.tag, event.step, float(value.tensor.float_val[0]))
        for event in loader.EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]
    ours = [
        (tag, step, value) for tag, items in read_events(path.read_bytes(), "file").scalars.items() for step, _, value in items
    ]
    assert sorted(ours) == sorted(theirs)


def test_a_folder_called_train_may_be_the_name_of_the_run(tmp_path: Path) -> None:
    """Its tags speak of validation themselves, so that those without a split are not of training."""
    scalars = [
        (tag, epoch, value)
        for epoch in (1, 2, 3)
        for tag, value in (("train/box_loss", 1.0), ("val/box_loss", 1.1), ("metrics/mAP50(B)", 0.5))
    ]
    path = put(tmp_path / "train", event_file(scalars))
    (chart,) = read_charts(path)
    assert chart.has("val.map50", points=3)
    assert not chart.has("train.map50")


TAGS = st.sampled_from(["loss", "Loss/train", "val_loss", "epoch", "AUC/val", "lr", "weather"])
STEPS = st.one_of(st.integers(0, 12), st.sampled_from([-1, 10**6, 2**40]))
VALUES = st.one_of(st.floats(width=32), st.sampled_from([0.0, 0.5, 1.0, 2.0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "train", "validation", "run/b"]), st.lists(st.tuples(TAGS, STEPS, VALUES), max_size=25)),
        min_size=1,
        max_size=4,
    )
)
def test_any_folder_of_event_files_is_read_or_refused(tmp_path: Path, files: list[tuple[str, list[Scalar]]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        for number, (below, scalars) in enumerate(files):
            put(Path(folder) / below, event_file(scalars, start=1e9 + 100 * number), f"events.out.tfevents.{number}")
        try:
            charts = read_charts(folder)
        except DataError:
            return
        for chart in charts:
            diagnose(chart)
