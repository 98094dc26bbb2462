"""MedMNIST (Yang et al. 2023): its files hold numbers alone; their names are here, and where they lie its own package knows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.config import DataConfig
from osler.data.arrays import array_samples
from osler.data.labels import absent_names
from osler.data.messages import some
from osler.data.samples import Samples
from osler.errors import DataError, nearest

__all__ = ["MEDMNIST", "is_medmnist", "medmnist_classes", "medmnist_samples"]

ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)  # fmt: skip
# Here rather than from the package alone, so that a run has the same classes where that is not installed.
MEDMNIST: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "chestmnist": (
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax", "consolidation",
        "edema", "emphysema", "fibrosis", "pleural", "hernia",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
        "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "breastmnist": ("malignant", "normal or benign"),
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil", "platelet",
    ),
    "tissuemnist": (
        "collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells",
        "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb",
    ),
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
}  # fmt: skip
# Where the number 1 is not what a test looks for.
POSITIVE = {"breastmnist": "malignant"}
NAME = re.compile(r"(?P<set>[a-z]+mnist)(?P<size>_(?:28|64|128|224))?(?:\.npz)?")


def is_medmnist(path: Path) -> bool:
    """Whether a file, by its name, is one of MedMNIST's, of any size.

    >>> is_medmnist(Path("bloodmnist_224.npz")), is_medmnist(Path("bloodmnist_mine.npz")), is_medmnist(Path("mnist.npz"))
    (True, False, False)
    """
    found = NAME.fullmatch(path.name)
    return found is not None and found["set"] in MEDMNIST and path.suffix == ".npz"


def medmnist_classes(name: str) -> tuple[str, ...] | None:
    """The classes by number of the set that a file's name begins with, or None.

    >>> medmnist_classes("pneumoniamnist_9to1.npz")
    ('normal', 'pneumonia')
    """
    return MEDMNIST.get(re.split(r"[_.]", name)[0])


def medmnist_samples(config: DataConfig) -> Samples:
    """A set of MedMNIST with its classes by name: `data.path` is its file, or its name where its own package keeps the file.

    Nothing is fetched. With `data.classes` its classes are in that order; of two the last is positive.

    Raises:
        DataError: no such set or file; classes that it has not; all that `array_samples` refuses.
    """
    assert config.path is not None, "the config requires a path for this source"
    found = NAME.fullmatch(config.path.name)
    name = "" if found is None else found["set"]
    if name not in MEDMNIST:
        guess = nearest(name or config.path.name, MEDMNIST)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise DataError(
            f"data.path: {config.path.name!r} is no set of MedMNIST{hint}; they are {', '.join(MEDMNIST)}, with _64, _128 or "
            "_224 for larger images. Other .npz files are read by source npz."
        )
    by_number = MEDMNIST[name]
    wanted = config.classes or _usual_order(name)
    absent = absent_names(wanted, by_number)
    if absent or (len(wanted) < len(by_number) and name != "chestmnist"):
        lacking = f"there is no {some(absent)}" if absent else "all of its classes must be listed"
        raise DataError(f"data.classes: {lacking}; {name} has {some(map(repr, by_number), 20)}. To rename them use source npz.")
    read = array_samples(config.model_copy(update={"path": _file(config.path, name), "classes": by_number}))
    return _in_order(read, wanted)


def _usual_order(name: str) -> tuple[str, ...]:
    """The classes, the positive one of two last."""
    names = MEDMNIST[name]
    return (*(other for other in names if other != POSITIVE[name]), POSITIVE[name]) if name in POSITIVE else names


def _in_order(samples: Samples, wanted: Sequence[str]) -> Samples:
    """The same samples with their classes in another order, or fewer of several labels."""
    if samples.task != "binary":
        columns = [samples.classes.index(name) for name in wanted]
        return replace(samples, targets=samples.targets[:, columns], classes=tuple(wanted))
    negative, positive = wanted
    if samples.classes != (positive,):
        note = f"The positive class is {positive!r}."
        notes = (*(said for said in samples.notes if not said.startswith("The positive class is")), note)
        flipped = np.asarray(1 - samples.targets, dtype=np.float32)
        samples = replace(samples, targets=flipped, classes=(positive,), negative=negative, notes=notes)
    return replace(samples, listed=tuple(wanted))


def _file(path: Path, name: str) -> Path:
    """The file itself, or the one that the package of MedMNIST has fetched before."""
    if path.exists():
        return path
    try:
        root = Path(importlib.import_module("medmnist.info").DEFAULT_ROOT)
    except ImportError:
        raise DataError(
            f"data.path: {path} does not exist, and the package medmnist, which may keep it, is not installed. Name the file."
        ) from None
    kept = root / f"{path.name.removesuffix('.npz').removesuffix('_28')}.npz"
    if not kept.is_file():
        raise DataError(
            f"data.path: {path} does not exist, and {kept} neither. Fetch it by `python -m medmnist download --flag={name}`, "
            "or name the .npz file."
        )
    return kept
