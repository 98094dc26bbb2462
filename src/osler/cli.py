"""The command line: one short function per command, no logic.

stdout carries a command's result alone; everything a person reads while it runs goes to stderr. Exit codes: 0 done, 1 a
finding or a non-finite loss stopped it, 2 the user's mistake, 130 and 143 stopped by a signal and resumable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from osler import __version__
from osler.errors import OslerError

__all__ = ["app", "main"]

app = typer.Typer(
    name="osler",
    help="Trains medical-image models that learn, and says why when one does not. For research; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file; `osler init SOURCE` writes one.")]
OverridesArgument = Annotated[list[str] | None, typer.Argument(metavar="[key=value ...]", help="Such as training.epochs=20.")]


def _say(text: str) -> None:
    """A line to the person, on stderr."""
    print(text, file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"osler {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


@app.command()
def init(
    source: Annotated[
        Path, typer.Argument(help="A folder of class folders, or of images and masks, a CSV file, or an .npz file.")
    ],
    out: Annotated[Path | None, typer.Option(help="The config to write; <name of the source>.yaml by default.")] = None,
) -> None:
    """Look at data and write a commented config."""
    from osler.init import write_config

    print(write_config(source, out))


@app.command("show-config")
def show_config(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Print the resolved config: every default, every `auto` derived."""
    from osler.config import config_to_yaml, load_config
    from osler.data.load import load_data
    from osler.train.resolve import resolve

    loaded = load_config(config, overrides or ())
    print(config_to_yaml(resolve(loaded, load_data(loaded.data))), end="")


@app.command()
def train(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder; absent or empty.")] = None,
    dev_mode: Annotated[bool, typer.Option("--dev-mode", help="100 samples, 3 epochs: does everything work?")] = False,
    dev_samples: Annotated[int | None, typer.Option(metavar="N", help="At most so many samples.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Epochs; with phases, of each.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Samples a batch.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(metavar="PATH", help="Start from this training state.")] = None,
    checkup: Annotated[bool, typer.Option("--checkup", help="First the quick half of `osler checkup`.")] = False,
) -> None:
    """Train a model; the last line is the run folder."""
    from osler.config import load_config, training_flags
    from osler.train.fit import train_run

    loaded = load_config(config, overrides or (), training_flags(dev_mode, dev_samples, epochs, batch_size, lr))
    if checkup:
        from osler.checkup import pass_quick_checkup

        _say(pass_quick_checkup(loaded).text())
    print(train_run(loaded, run, checkpoint).path)


@app.command()
def checkup(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    minutes: Annotated[float, typer.Option(metavar="N", help="For all tests together.")] = 2.0,
    fact: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="What is declared of the data; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a page with pictures there.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_on: Annotated[str | None, typer.Option(metavar="SEVERITY", help="Exit 1 at note, warning or critical.")] = None,
) -> None:
    """Test a configuration on its own data, loss, model and loader before it is trained."""
    from osler.checkup import checkup_config
    from osler.config import load_config

    found = checkup_config(load_config(config, overrides or ()), minutes, fact or ())
    print(found.json_text() if json else found.text())
    if out is not None:
        _say(f"Page: {found.write(out)}")
    raise SystemExit(found.exit_code(fail_on))


@app.command()
def resume(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that was stopped.")]) -> None:
    """Continue a run in its folder, to the same bits."""
    from osler.train.fit import resume_run

    print(resume_run(run).path)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    checkpoint: Annotated[str, typer.Option(metavar="best|last", help="Which weights.")] = "best",
    data: Annotated[Path | None, typer.Option(metavar="SOURCE", help="Other data: a config, or a source like the run's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON.")] = False,
) -> None:
    """Figures with intervals; a page with pictures."""
    from osler.evaluate import evaluate_run

    evaluation = evaluate_run(run, checkpoint, data)
    print(evaluation.json_text() if json else evaluation.summary())
    _say(f"Page: {evaluation.page}")


OutOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Write a page with pictures there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def balance(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    batches: Annotated[int, typer.Option(metavar="N", help="Batches to draw.")] = 500,
    json: JsonOption = False,
) -> None:
    """What the sampler draws, and what the loss makes of it, proved on real batches."""
    from osler.balance import balance_config
    from osler.config import load_config

    found = balance_config(load_config(config, overrides or ()), batches)
    print(found.json_text() if json else found.text())
    if out is not None:
        _say(f"Page: {found.write(out)}")


@app.command()
def look(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the sheets go.")] = Path("look"),
    samples: Annotated[int, typer.Option(metavar="N", help="Images to look at, about.")] = 600,
    json: JsonOption = False,
) -> None:
    """Contact sheets of what the model will see, and what stands out among the images."""
    from osler.config import load_config
    from osler.look import look_config

    found = look_config(load_config(config, overrides or ()), samples)
    print(found.json_text() if json else found.text())
    _say(f"Page: {found.write(out)}")


@app.command()
def audit(
    source: Annotated[Path, typer.Argument(metavar="CONFIG|SOURCE", help="A YAML file, or a folder, CSV or .npz file.")],
    overrides: OverridesArgument = None,
    out: OutOption = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes that read images; all cores by default.")] = None,
    json: JsonOption = False,
    fail_on: Annotated[str | None, typer.Option(metavar="SEVERITY", help="Exit 1 at note, warning or critical.")] = None,
) -> None:
    """What is wrong with a set of images: copies, leaks, shortcuts, labels, files."""
    from osler.audit import audit_source
    from osler.init.sources import draft_of

    found = audit_source(source, draft_of, overrides or (), workers, fail_on)
    print(found.json_text() if json else found.text())
    if out is not None:
        _say(f"Page: {found.write(out)}")
    raise SystemExit(found.exit_code(fail_on))


@app.command()
def prepare(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    shard: Annotated[str | None, typer.Option(metavar="i/n", help="The part of this machine, of n that share a cache.")] = None,
    engine: Annotated[str, typer.Option(metavar="processes|ray", help="Who does the work.")] = "processes",
    check: Annotated[bool, typer.Option("--check", help="Read every prepared byte against its checksum.")] = False,
) -> None:
    """Prepare every image before training; resumable, on one machine or many."""
    from osler.config import load_config
    from osler.prepare import prepare_config

    found = prepare_config(load_config(config, overrides or ()), shard, engine, check)
    _say(found.text())
    print(found.folder)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files or folders of them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where predictions.csv, and masks, go.")] = Path("predictions"),
) -> None:
    """Probabilities and decisions for images; masks and overlays of a segmenter."""
    from osler.predict import predict_files
    from osler.runs.card import INTENDED_USE
    from osler.train.inference import load_predictor

    _say(INTENDED_USE)
    print(predict_files(load_predictor(run), images, out))


@app.command()
def diagnose(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_LOG...", help="Run folders, logs of any framework, or folders of them.")
    ],
    fact: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="What the log does not say; repeatable.")] = None,
    facts: Annotated[Path | None, typer.Option(metavar="FILE", help="A YAML file of such facts.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write pages there.")] = None,
    fail_on: Annotated[str | None, typer.Option(metavar="SEVERITY", help="Exit 1 at note, warning or critical.")] = None,
) -> None:
    """What is wrong with a run, the evidence, and what to do."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # starting its threads costs more than they save here
    from osler.doctor.command import diagnose_sources

    found = diagnose_sources(list(sources), fact or (), facts)
    print(found.json_text() if json else found.text())
    if out is not None:
        _say(f"Page: {found.write_pages(out)}")
    raise SystemExit(found.exit_code(fail_on))


@app.command()
def faults(json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False) -> None:
    """List the faults that the doctor knows."""
    from osler.doctor.command import describe_faults

    print(describe_faults(json))


@app.command()
def treat(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run with findings.")],
    yes: Annotated[bool, typer.Option("--yes", help="Go on without asking.")] = False,
    minutes: Annotated[float, typer.Option(metavar="N", help="Of training in all.")] = 30.0,
    controls: Annotated[str, typer.Option(metavar="plain|full", help="full: a random change too.")] = "plain",
    attempts: Annotated[int, typer.Option(metavar="N", help="Prescriptions at most.")] = 3,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Trainings of each arm; by the minutes if left out.")] = None,
    json: JsonOption = False,
) -> None:
    """Apply a prescription, and prove it against a plain re-run."""
    from osler.treat.command import ask, treat_run

    found = treat_run(run, controls=controls, minutes=minutes, attempts=attempts, seeds=seeds, confirm=ask(yes))
    print(found.json_text() if json else found.text())


@app.command()
def models() -> None:
    """List the architectures."""
    from osler.models import describe_models

    print(describe_models())


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder; a new one under runs/ by default.")] = None,
    segmentation: Annotated[bool, typer.Option("--segmentation", help="Runs of lesion segmenters.")] = False,
) -> None:
    """Train a run that learns nothing, diagnose it, treat it, prove the cure, and show the page; on synthetic images."""
    from osler.demo import run_demo

    print(run_demo(out, "segmentation" if segmentation else "classification"))


# Commands that answer at once: typer imports pydantic to read a command line, which takes as long as a diagnosis.
AT_ONCE: dict[str, Callable[..., None]] = {"diagnose": diagnose, "faults": faults}


def _plain_call(command: Callable[..., None], words: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of a command from plain words; None where there is anything that typer has to read or to explain."""
    kinds = {name: get_args(hint) for name, hint in get_type_hints(command, include_extras=True).items() if name != "return"}
    options = {f"--{name.replace('_', '-')}": name for name, (_, about) in kinds.items() if not isinstance(about, ArgumentInfo)}
    places = [name for name in kinds if name not in options.values()]
    values: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name = options.get(word) if word.startswith("-") else next(iter(places), None)
        if name is None:
            return None
        kind = _without_none(kinds[name][0])
        if kind is bool:
            values[name] = True
            continue
        if name not in places:
            if not waiting or waiting[0].startswith("-"):
                return None
            word = waiting.pop(0)
        if get_origin(kind) is list:
            values.setdefault(name, []).append(get_args(kind)[0](word))
        else:
            values[name] = kind(word)
    return values if set(places) <= set(values) else None


def _without_none(kind: Any) -> Any:
    """The type X of `X | None`."""
    parts = [part for part in get_args(kind) if part is not NoneType] if NoneType in get_args(kind) else [kind]
    return parts[0]


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command; every error that a user can cause is one message and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        command = AT_ONCE.get(given[0]) if given else None
        values = None if command is None else _plain_call(command, given[1:])
        if command is not None and values is not None:
            command(**values)
            raise SystemExit(0)
        app(given, standalone_mode=True)
    except OslerError as error:
        if "--debug" in given:
            raise
        _say(f"error: {error}")
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    except KeyboardInterrupt:
        _say("stopped")
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
