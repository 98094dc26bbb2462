"""One run of the benchmark: Osler's own loop and vitals over a task in memory, with a fault put in, and what it came to.

Nothing is written but the facts, to a folder that is thrown away: no checkpoint, page or event. A fault that a configuration
can express is one; what it cannot is done by a `Tamper`, before the facts are written (the run knows of it) or after (it does
not).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from network import build_network, enter_at_half
from numpy.typing import NDArray

from osler.config import Config
from osler.data.batches import Batch, EvalBatches
from osler.data.cache import PackedCache
from osler.data.load import Data
from osler.doctor.chart import Chart, Series
from osler.doctor.facts import Facts
from osler.doctor.readers.vitals import VitalsCollector
from osler.errors import DataError
from osler.files import strict_json
from osler.losses import build_loss
from osler.metrics.floors import floor
from osler.metrics.summary import class_vitals
from osler.metrics.weights import Kind, LossSpec, count_labels, resolve_loss
from osler.models.segmenters import Segmenter
from osler.runs.folder import RunFolder
from osler.tasks.classification import Classification
from osler.tasks.mask_outputs import mask_probabilities
from osler.tasks.segmentation import Segmentation, build_segmentation
from osler.tasks.task import Task as OslerTask
from osler.train.loop import NonFiniteLossError, evaluate, train_epoch
from osler.train.machine import Machine, start_machine
from osler.train.measure import measure
from osler.train.plan import Plan, build_plan
from osler.train.resolve import resolve
from osler.train.setup import Batches, build_batches, write_facts
from osler.train.state import TrainingState
from tasks import Pool, Task, draw_pool, prepared, seed_data, whole_config

__all__ = ["Bench", "Run", "Tamper", "train_bench"]


@dataclass
class Bench:
    """A run on the bench, open for tampering.

    Attributes:
        rng: for the tampering, from the seed.
        pool: images as train is given them; `val_pool` as val is.
        task, batches, plan, state: None until they are built.
        each_epoch: called with the epoch before it is trained.
        stated: facts laid over those that the run writes.
    """

    config: Config
    data: Data
    pool: Pool
    val_pool: Pool
    rng: np.random.Generator
    machine: Machine
    task: OslerTask | None = None
    batches: Batches | None = None
    plan: Plan | None = None
    state: TrainingState | None = None
    each_epoch: list[Callable[[int], None]] = field(default_factory=list)
    stated: dict[str, Any] = field(default_factory=dict)

    @property
    def built(self) -> tuple[OslerTask, Batches, TrainingState]:
        """Task, batches and state, once they are there."""
        assert self.task is not None
        assert self.batches is not None
        assert self.state is not None
        return self.task, self.batches, self.state


Tamper = Callable[[Bench], None]


@dataclass(frozen=True)
class Run:
    """What is to be run.

    Attributes:
        sections: of the configuration, over the task's.
        samples: of train and val together; None: the task's.
        before: done to data, images and plan before anything is built: the run's facts tell of it where it shows there.
        after: done to what is built, once the facts are written.
    """

    sections: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    before: tuple[Tamper, ...] = ()
    after: tuple[Tamper, ...] = ()


def build_classification(task: Task, config: Config, data: Data) -> Classification:
    """As `osler.tasks.classification.build_task`, with the bench's network."""
    drawn = data.drawn_counts
    spec = resolve_loss(config.loss, drawn)
    model = build_network(task.widths, config, len(data.source.classes))
    if config.model.output_bias == "floor":
        model.set_output_bias(torch.as_tensor(floor(spec, drawn).logits, dtype=torch.float32))
    kind = cast("Kind", data.source.task)
    return Classification(kind, data.source.classes, model, spec, build_loss(spec))


def train_bench(task: Task, run: Run, seed: int) -> tuple[Chart, dict[str, Any]]:
    """Trains one run.

    Returns:
        Its chart, and its scores: `best` and `last` on the test set, and `val_auc`, or `val_dice` of masks: what the run itself
        says of its best epoch.
    """
    started = time.perf_counter()
    sections = {**run.sections, "training": {**run.sections.get("training", {}), "seed": seed}}
    config = whole_config(task, sections)
    data, pool = seed_data(task, config.data, seed, run.samples), draw_pool(task)
    config = resolve(config, data)
    with start_machine(config.training) as machine, _cheap_seeds():
        bench = Bench(config, data, pool, pool, np.random.default_rng([seed, 7]), machine)
        for tamper in run.before:
            tamper(bench)
        facts = _build(task, bench)
        for tamper in run.after:
            tamper(bench)
        collector = VitalsCollector(task.name)
        best, stopped = _train(bench, collector)
        scores = _scores(task, bench, best)
    facts = facts.over(Facts.of(stopped, "facts.json", strict=False)).over(Facts.of(bench.stated, "--fact"))
    scores["seconds"] = round(time.perf_counter() - started, 2)
    return compact(collector.chart(facts)), scores


@contextmanager
def _cheap_seeds() -> Iterator[None]:
    """`torch.manual_seed` gives the same numbers, but does not tell devices that are not there: a third of a batch's time."""
    usual = torch.manual_seed
    torch.manual_seed = torch.default_generator.manual_seed
    try:
        yield
    finally:
        torch.manual_seed = usual


def _build(task: Task, bench: Bench) -> Facts:
    """Builds what a run is made of, as `osler.train.fit.fit` does, and gives the facts that it writes."""
    config, data, machine = bench.config, bench.data, bench.machine
    torch.manual_seed(config.training.seed)
    cache = cast("PackedCache", bench.pool)
    masks = {name: prepared(bench.pool, rows) for name, rows in data.rows.items()} if data.source.masks is not None else {}
    if masks:
        bench.task = build_segmentation(config, data, cache, masks)
        enter_at_half(cast("Segmenter", bench.task.model))
    else:
        bench.task = build_classification(task, config, data)
    bench.batches = build_batches(config, data, cache, machine)
    if bench.val_pool is not bench.pool:
        val = build_batches(config, data, cast("PackedCache", bench.val_pool), machine)
        bench.batches = replace(bench.batches, val=val.val, fixed=val.fixed)
    bench.plan = bench.plan or build_plan(config.training, len(bench.batches.train))
    bench.state = TrainingState(config, bench.task, bench.plan, machine)
    with tempfile.TemporaryDirectory() as folder:
        kept = RunFolder(Path(folder))
        write_facts(config, data, cache, masks, bench.task, bench.plan, machine, kept, data.fingerprint())
        stated = kept.read(kept.facts_file)
    known = {key: value for key, value in stated.items() if key not in ("schema", "notes")}
    return Facts.of(known, "facts.json", strict=False)


def _train(bench: Bench, collector: VitalsCollector) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All epochs; the weights of the best, and what is known of the run at its end."""
    task, batches, state = bench.built
    best = _weights(state)
    while not state.progress.stop_reason:
        if not state.position.begun:
            _begin_phase(state, best)
        for action in bench.each_epoch:
            action(state.position.epoch)
        started = time.perf_counter()
        task.begin_epoch(state.position.epoch)
        try:
            train_epoch(task, task.model, batches.train, state, ())
            vitals, _ = measure(task, batches, state, started)
        except (NonFiniteLossError, DataError) as error:  # outputs that are not finite are a fault of data to Osler
            collector.add(_broken_epoch(state))
            return best, {"stop_reason": f"not finite: {error}"[:80]}
        value = task.monitored(state.config.training.monitor, vitals["val"])
        improved = state.take_figure(value)
        progress = {"value": value, "best": state.progress.best, "best_epoch": state.progress.best_epoch, "improved": improved}
        vitals["monitor"] |= progress
        collector.add(cast("dict[str, Any]", strict_json(vitals)))
        if improved:
            best = _weights(state)
        state.end_epoch()
    return best, {"stop_reason": state.progress.stop_reason, "best_epoch": state.progress.best_epoch}


def _begin_phase(state: TrainingState, best: dict[str, torch.Tensor]) -> None:
    """As `TrainingState.begin_phase`, from weights in memory."""
    if state.position.phase > 0:
        state.model.load_state_dict(best)
        if state.average is not None:
            state.average.restart()
    # Where there is no checkpoint, the state keeps the weights that it has.
    state.begin_phase(Path("no checkpoint"))


def _weights(state: TrainingState) -> dict[str, torch.Tensor]:
    """A copy of the weights that were evaluated: their moving average where that is on."""
    weights = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}
    if state.average is not None:
        weights |= {name: tensor.detach().clone() for name, tensor in state.average.state().items() if name != "steps"}
    return weights


def _broken_epoch(state: TrainingState) -> dict[str, Any]:
    """The epoch that a loop without Osler's guard would have logged: a loss that is not a number."""
    return {
        "epoch": state.position.epoch,
        "train": {"loss": {"value": None, "value_reason": "not finite"}},
        "learning_rate": {"end": state.plan.learning_rate(state.phase, state.position.step_in_phase, state.progress.plateau)},
    }


# --- what the run came to -----------------------------------------------------------------------------------------------------


def _scores(task: Task, bench: Bench, best: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Figures of the fixed test set with the best weights and with the last, prepared and labelled as they should be."""
    trained, _, state = bench.built
    pool = draw_pool(task)
    rows = np.arange(task.pool, task.pool + task.test)
    last = _weights(state)
    state.average = None
    masks = isinstance(trained, Segmentation)
    name = "val_dice" if masks else "val_auc"
    scores: dict[str, Any] = {"best_epoch": state.progress.best_epoch, name: _told(bench, best, "dice" if masks else "auc")}
    channels = pool.channels if masks else None
    for name, weights in (("best", best), ("last", last)):
        trained.model.load_state_dict(weights)
        batches = EvalBatches(pool.gather, rows, pool.samples.targets[rows], 128, channels=channels)
        if isinstance(trained, Segmentation):
            scores[name] = test_overlaps(trained, batches)
            continue
        arrays = evaluate(trained, batches, state).gathered()
        scores[name] = test_figures(arrays["targets"], arrays["logits"], cast("Classification", trained))
    return scores


def _told(bench: Bench, best: dict[str, torch.Tensor], figure: str) -> float | None:
    """The validation figure that the run itself would report for its best epoch."""
    task, batches, state = bench.built
    average, state.average = state.average, None
    kept = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    task.model.load_state_dict(best)
    try:
        figures = task.figures(evaluate(task, batches.val, state).gathered())
    except DataError:
        return None
    finally:
        task.model.load_state_dict(kept)
        state.average = average
    return _known(figures["macro"][figure])


@torch.no_grad()
def test_overlaps(task: Segmentation, batches: Iterable[Batch]) -> dict[str, float | None]:
    """Dice of all pixels of the test set at 0.5, macro; with that of calling every pixel foreground."""
    task.model.eval()
    counts = np.zeros((3, len(task.classes)))
    pixels = 0
    for batch in batches:
        assert batch.masks is not None
        called, true = mask_probabilities(task.logits(task.model, batch.images), task.exclusive) >= 0.5, batch.masks == 1
        counts += np.stack([plane.sum(dim=(0, 2, 3)).numpy() for plane in (called & true, called, true)])
        pixels += true[:, 0].numel()
    hits, calls, trues = counts
    return {"dice": _known(np.mean(2 * hits / (calls + trues))), "dice_floor": _known(np.mean(2 * trues / (trues + pixels)))}


def test_figures(targets: NDArray[Any], logits: NDArray[Any], task: Classification) -> dict[str, float | None]:
    """AUC, AP, F1 at 0.5, and skill under the plain cross-entropy, macro; with the F1 of calling everything positive."""
    if not np.isfinite(logits).all():
        return {"auc": 0.5, "ap": None, "f1": 0.0, "skill": None, "f1_floor": None}
    classes = class_vitals(targets, logits, task.kind)
    spec = LossSpec("cross_entropy" if task.kind == "multiclass" else "bce")
    with torch.no_grad():
        loss = float(build_loss(spec)(torch.from_numpy(logits), torch.from_numpy(targets)).mean())
    counts = count_labels(targets, task.kind)
    return {
        **{name: _known(np.mean([each[name] for each in classes])) for name in ("auc", "ap")},
        "f1": _known(np.mean([0.0 if math.isnan(each["f1"]) else each["f1"] for each in classes])),
        "skill": _known(1 - loss / floor(spec, counts).loss),
        "f1_floor": _known(np.mean(2 * counts.prevalence / (1 + counts.prevalence))),
    }


def _known(value: float | np.floating[Any]) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def compact(chart: Chart) -> Chart:
    """The chart without what stands in every Osler run alike: places, labels, and figures of the machine."""
    kept = {name: series for name, series in chart.series.items() if not name.startswith(("memory.", "seconds.step"))}
    series = {name: Series(each.values, each.nonfinite) for name, each in kept.items()}
    return replace(chart, series=series, logged_epochs=None)
