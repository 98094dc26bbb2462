"""`osler look`: shows what a model will see before it is trained, and says what stands out."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.data.load import Data, load_data
from osler.errors import ConfigError
from osler.files import make_out_folder, strict_json, write_bytes, write_json, write_text
from osler.look.choice import choose
from osler.look.doubts import ClassDoubts, find_doubts
from osler.look.findings import Finding, find, inverted_places
from osler.look.groups import tone_panels
from osler.look.page import look_page
from osler.look.pixels import Ready, ready
from osler.look.sheets import Sheet, batch_sheet, class_sheet, doubt_sheet, stage_sheet, unlike_sheet
from osler.look.tones import Tones, likeness, measure_tones
from osler.report.tone_pictures import tone_picture
from osler.train.resolve import resolve

__all__ = ["Look", "look_config", "look_data"]

SCHEMA = "osler.look/1"
SAMPLES = 600
WIDTH = 110


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        config: resolved.
        ready: the images.
        tones: of the images.
        likeness: (n,) of each image with what all have in common.
        findings: what stands out, the gravest first.
        sheets: in reading order.
        missing: why a sheet is not there.
    """

    config: Config
    ready: Ready
    tones: Tones
    likeness: NDArray[np.float64]
    findings: tuple[Finding, ...]
    sheets: tuple[Sheet, ...]
    missing: tuple[str, ...]

    def text(self) -> str:
        """What stands out, for a terminal."""
        lines = []
        for one in self.findings:
            head = "" if one.tone == "good" else f"{one.tone.upper()}: "
            lines += textwrap.wrap(head + one.text, WIDTH, subsequent_indent="  ")
        lines += [line for text in self.missing for line in textwrap.wrap(f"NOT SHOWN: {text}", WIDTH, subsequent_indent="  ")]
        total = sum(len(rows) for rows in self.ready.data.rows.values())
        return "\n".join([*lines, f"{len(self.ready.chosen):,} of {total:,} images were looked at."])

    def data(self) -> dict[str, Any]:
        """The same as strict JSON, schema `osler.look/1`."""
        chosen, source = self.ready.chosen, self.ready.data.source
        panels = tone_panels(self.ready, self.tones)
        found = {
            "schema": SCHEMA,
            "images": len(chosen),
            "findings": [asdict(one) for one in self.findings],
            "not_shown": list(self.missing),
            "sheets": {sheet.name: list(sheet.ids) for sheet in self.sheets},
            "likeness": {"median": float(np.median(self.likeness)), "least": float(self.likeness.min())},
            "histograms": {
                panel.title: {group.name: {"images": group.images, "shares": group.shares} for group in panel.groups}
                for panel in panels
            },
            "unreadable": list(self.ready.unreadable),
            "task": source.task,
        }
        plain: dict[str, Any] = strict_json(found)
        return plain

    def json_text(self) -> str:
        """The same as a text of JSON."""
        return json.dumps(self.data(), indent=2, allow_nan=False, ensure_ascii=False)

    def write(self, folder: Path) -> Path:
        """Writes look.html, look.json, histograms.png and a PNG for each sheet; where the page is."""
        make_out_folder(folder)
        panels = tone_panels(self.ready, self.tones)
        uri, png = tone_picture(panels)
        page = look_page(self.config, self.ready, self.findings, self.sheets, self.missing, self.tones, panels, uri)
        for name, content in {"histograms": png, **{sheet.name: sheet.png() for sheet in self.sheets}}.items():
            write_bytes(folder / f"{name}.png", content)
        write_json(folder / "look.json", self.data())
        write_text(folder / "look.html", page.html())
        return (folder / "look.html").absolute()


def look_config(config: Config, samples: int = SAMPLES) -> Look:
    """Looks at about so many images of a configuration's data; they are prepared into the cache that training uses.

    Raises:
        ConfigError: no image was asked for, or the configuration does not fit the images.
        DataError: the data cannot be read.
    """
    return look_data(config, load_data(config.data), samples)


def look_data(config: Config, data: Data, samples: int = SAMPLES) -> Look:
    """The same for data that are loaded already."""
    if samples < 1:
        raise ConfigError(f"--samples: {samples} is too few; give 1 or more, {SAMPLES} by default")
    config, seed = resolve(config, data), config.training.seed
    found = ready(config, data, choose(data, samples, seed))
    tones = measure_tones(found.cache, found.chosen.rows)
    like = likeness(tones.thumbs)
    doubts = _doubts(found, tones, inverted_places(like))
    sheets = [
        unlike_sheet(found, like),
        doubt_sheet(found, doubts),
        class_sheet(found, seed),
        stage_sheet(config, found, seed),
        batch_sheet(config, found),
    ]
    return Look(
        config,
        found,
        tones,
        like,
        tuple(find(found, tones, like, doubts)),
        tuple(sheet for sheet in sheets if isinstance(sheet, Sheet)),
        tuple(f"The first batch cannot be shown: {sheet}" for sheet in sheets if isinstance(sheet, str)),
    )


def _doubts(found: Ready, tones: Tones, odd: NDArray[np.intp]) -> dict[str, ClassDoubts]:
    """Doubtful labels of each class; none of masks, whose labels are pixels.

    Inverted images are left out: they are named already, and what they look like says nothing of their labels.
    """
    source, rows = found.data.source, found.chosen.rows
    targets = source.targets[rows].astype(np.float64)
    targets[odd] = np.nan
    if source.task == "segmentation":
        return {}
    patients = None if source.patients is None else source.patients[rows]
    made = {name: find_doubts(tones.thumbs, targets[:, k], patients) for k, name in enumerate(source.classes)}
    return {name: one for name, one in made.items() if one is not None}
