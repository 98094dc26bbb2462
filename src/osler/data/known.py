"""Known sets by name: what public sets are published as, so that their configuration needs no hand-writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from osler.config import DataConfig
from osler.data.known_chest import (
    chexpert_samples,
    is_chexpert,
    is_nih,
    is_rsna,
    is_siim,
    nih_samples,
    rsna_samples,
    siim_samples,
)
from osler.data.known_folders import chest_folder_samples, is_chest_folders
from osler.data.known_medmnist import is_medmnist, medmnist_samples
from osler.data.known_skin import ham_samples, is_ham, is_isic, isic_samples
from osler.data.samples import Samples

__all__ = ["KNOWN", "KnownSet", "known_set"]


@dataclass(frozen=True)
class KnownSet:
    """A public set, or a family that is laid out alike.

    Attributes:
        title: what it is called.
        recognises: whether a path is this set, by the names of files and the first lines of tables.
        read: its samples.
        policies: keys of `data` that must be decided for it, with what is proposed and why.
    """

    title: str
    recognises: Callable[[Path], bool]
    read: Callable[[DataConfig], Samples]
    policies: Mapping[str, tuple[str, str]] = field(default_factory=dict)


CHEXPERT_POLICIES = {
    "unknown": ("negative", "findings that a report does not mention, as the set's authors take them; or: ignore. Decide"),
    "uncertain": (
        "ignore",
        "-1, the report is not sure: U-Ignore of its paper; or: negative (U-Zeros), positive (U-Ones). Decide",
    ),
}
# In the order in which a path is looked at: what has tables before what has folders alone.
KNOWN: dict[str, KnownSet] = {
    "nih_cxr14": KnownSet("NIH ChestX-ray14", is_nih, nih_samples),
    "chexpert": KnownSet("CheXpert", is_chexpert, chexpert_samples, CHEXPERT_POLICIES),
    "rsna_pneumonia": KnownSet("RSNA pneumonia challenge", is_rsna, rsna_samples),
    "siim_pneumothorax": KnownSet("SIIM-ACR pneumothorax challenge", is_siim, siim_samples),
    "ham10000": KnownSet("HAM10000", is_ham, ham_samples),
    "isic": KnownSet("ISIC challenge", is_isic, isic_samples),
    "chest_xray_folders": KnownSet("chest radiographs in folders", is_chest_folders, chest_folder_samples),
    "medmnist": KnownSet("MedMNIST", is_medmnist, medmnist_samples),
}


def known_set(path: Path) -> str | None:
    """The name in `KNOWN` of the set that a folder or file is, or None."""
    return next((name for name, known in KNOWN.items() if known.recognises(path)), None)
