"""Segmentation of real vessels and lesions, and of the phantom's.

    OSLER_TEST_DATA=... python benchmarks/segmentation.py SET [--init] [--run RUN ...] [key=value ...]

SET is one of
    vessels      CHASE_DB1, the usual split: whole images of 4 children; targets Dice 0.80 and AUC 0.975
    lesions      lesions of multiple sclerosis, leaving out one of three patients after the other: three Dice values
    sick         the same with the configuration of a run that hardly learned, and what the doctor says of it
    exudates     hard exudates of IDRiD, split by photograph
    ultrasound   lesions of the breast in ultrasound; whether images share a patient is unknown
    phantom      lesions of 0.3 % of the pixels; target Dice 0.6 within 10 minutes
All but the phantom have a configuration of their own in `configs`; --init asks for what `osler init` writes instead, which is
what the phantom is run with. With --run finished runs are evaluated, and none is trained.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from calibration import calibration_seconds

from osler.config import PhantomConfig, load_config, merge, parse_overrides, read_yaml
from osler.data.phantom import draw_phantom
from osler.doctor.diagnose import diagnose
from osler.doctor.readers.vitals import read_run
from osler.evaluate import evaluate_run
from osler.init import suggest
from osler.runs.folder import RunFolder
from osler.runs.vitals import read_vitals
from osler.train.fit import train_run

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RESULTS = Path("benchmarks/results/segmentation")
FOLDERS = {
    "vessels": "vessels_chase",
    "lesions": "ms_lesions",
    "sick": "ms_lesions",
    "exudates": "fundus_exudates",
    "ultrasound": "breast_ultrasound",
}
CONFIG_OF = {
    "vessels": "vessels",
    "lesions": "lesions",
    "sick": "lesions",
    "exudates": "exudates",
    "ultrasound": "ultrasound",
}
PATIENTS = ("patient07", "patient19", "patient26")
# What is recorded of a lesion segmenter that hardly learned; all else is as in the configuration that does.
SICK: dict[str, Any] = {
    "loss": {"type": "enhanced", "tversky_beta": 0.3},
    "training": {"learning_rate": 0.0002, "warmup_epochs": 10},
}
PHANTOM = PhantomConfig(samples=1000, size=128, findings=("nodule",), prevalence=0.7, lesion_area=(0.002, 0.01))
FIGURES = ("dice", "iou", "auc", "recall", "precision", "lesion_sensitivity", "false_positives_per_image")


def plans(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and configuration of each run of a set."""
    folder = phantom_folder() if options.set == "phantom" else Path(os.environ["OSLER_TEST_DATA"]) / FOLDERS[options.set]
    by_init = options.init or options.set not in CONFIG_OF
    if by_init:
        values = read_yaml(suggest(folder), "osler init")
    else:
        path = CONFIGS / f"{CONFIG_OF[options.set]}.yaml"
        values = merge(read_yaml(path.read_text(), path.name), {"data": {"path": str(folder)}})
    if options.set == "sick":
        values = merge(values, SICK)
    values = merge(values, parse_overrides(options.overrides))
    for patient in PATIENTS if FOLDERS.get(options.set) == "ms_lesions" else ("",):
        own: dict[str, Any] = {
            "run": {"folder": str(RESULTS), "name": "_".join(filter(None, (options.set, "init" if by_init else "", patient)))}
        }
        if patient:
            own["data"] = {"split": {"test": [patient], "by_patient": False, "ratio": [0.85, 0.15, 0.0]}}
        yield patient or options.set, merge(values, own)


def phantom_folder() -> Path:
    """The phantom's pictures and masks as files, as a user's set would be."""
    folder = RESULTS / "phantom_set"
    if not folder.exists():
        phantom = draw_phantom(PHANTOM)
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for row, image in enumerate(phantom.images):
            name = f"{phantom.patients[row]}_{row:04d}.png"
            cv2.imwrite(str(folder / "images" / name), np.asarray(image))
            cv2.imwrite(str(folder / "masks" / name), 255 * (phantom.mask(row)[0] > 0).astype(np.uint8))
    return folder


def shown(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def report(name: str, run: RunFolder) -> None:
    """A line of the table: figures of test with their intervals, minutes, and what the doctor says."""
    figures = evaluate_run(run.path).data()["splits"]["test"]["macro"]
    minutes = sum(vitals["seconds"]["epoch"] for vitals in read_vitals(run.vitals_file)) / 60
    (chart,) = read_run(run.path, run.path.name)
    findings = ", ".join(f"{each.id} ({each.severity})" for each in diagnose(chart).findings if each.severity != "note")
    print(
        f"| {name} | {' | '.join(shown(figures[each]) for each in FIGURES)} | {minutes:.1f} | {findings or 'none'} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=[*FOLDERS, "phantom"])
    parser.add_argument("--init", action="store_true")
    parser.add_argument("--run", type=Path, nargs="+")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    print(f"calibration: {calibration_seconds():.2f} s", flush=True)
    print(f"| run | {' | '.join(FIGURES)} | minutes | findings |\n|{'--|' * (len(FIGURES) + 3)}")
    if options.run:
        for path in options.run:
            report(path.name, RunFolder.open(path))
        return
    for name, values in plans(options):
        report(name, train_run(load_config(values)))


if __name__ == "__main__":
    main()
