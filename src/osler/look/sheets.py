"""Sheets: the images to be shown, with their captions, in the order in which a person should see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.config import Config
from osler.errors import DataError
from osler.look.choice import label_groups, label_text
from osler.look.doubts import ClassDoubts
from osler.look.pixels import Ready, Shown, as_file, augmented, first_batch, prepared
from osler.report.outlines import legend_of, outlined
from osler.report.raster import SheetRow, sheet_png
from osler.report.sheet import contact_sheet

__all__ = ["Sheet", "batch_sheet", "class_sheet", "doubt_sheet", "stage_sheet", "unlike_sheet"]

OF_CLASS = 8
STAGES = 6
EPOCHS = 3
UNLIKE = 16
DOUBTS = 24
IN_BATCH = 32
SIDE = 160
Legend = tuple[tuple[tuple[int, int, int], str], ...]


@dataclass(frozen=True)
class Sheet:
    """Rows of images that belong together.

    Attributes:
        name: of its PNG file, without the ending.
        title: its heading.
        text: what to look for.
        rows: of images.
        columns: images beside one another.
        legend: colours of outlines, and the classes that they stand for.
        ids: of the images shown, in their order.
    """

    name: str
    title: str
    text: str
    rows: tuple[SheetRow, ...]
    columns: int = OF_CLASS
    legend: Legend = ()
    ids: tuple[str, ...] = ()

    def png(self) -> bytes:
        """The sheet as one PNG file."""
        return sheet_png(self.rows, columns=self.columns, side=SIDE, legend=self.legend)

    def uris(self) -> list[tuple[str, str]]:
        """Heading and picture of each row, for a page."""
        return [
            (row.title, contact_sheet(row.images, row.captions, columns=self.columns, side=SIDE, legend=self.legend))
            for row in self.rows
        ]


def class_sheet(ready: Ready, seed: int) -> Sheet:
    """A row a class of train images as they are prepared, drawn at random."""
    train = ready.chosen.rows[ready.chosen.splits == "train"]
    source, rng = ready.data.source, np.random.default_rng(seed)
    rows, ids = [], []
    for name, group in label_groups(source, source.targets[train]).items():
        members = train[group][rng.permutation(int(group.sum()))[:OF_CLASS]]
        rows.append(SheetRow(name, *_captioned(ready, [prepared(ready, int(row)) for row in members])))
        ids += [str(source.ids[row]) for row in members]
    text = "Train, as prepared. Does each row show what its heading says, and does any image belong in another row?"
    return Sheet("classes", "By class", text, tuple(rows), legend=_legend(ready), ids=tuple(ids))


def stage_sheet(config: Config, ready: Ready, seed: int) -> Sheet:
    """A row an image: the file's pixels, the prepared image, and what training could make of it."""
    train = ready.chosen.rows[ready.chosen.splits == "train"]
    source, rng = ready.data.source, np.random.default_rng(seed + 1)
    groups = list(label_groups(source, source.targets[train]).values())
    some = np.unique([int(rng.choice(train[group])) for group in groups[-STAGES:]])
    rows = []
    for row, changed in zip(some.tolist(), augmented(config, ready, some, EPOCHS), strict=True):
        file, said = as_file(source.images.read(row))
        masks = None if source.masks is None else source.masks.read(row)
        images = [_drawn(Shown(file, masks, row)), _drawn(prepared(ready, row)), *(_drawn(one) for one in changed)]
        size = " × ".join(map(str, reversed(ready.cache.preparation.shape[1:])))
        captions = [["file", said], ["prepared", size], *(["augmented", f"draw {number}"] for number in range(1, EPOCHS + 1))]
        rows.append(SheetRow(f"{label_text(source, row)} · {source.ids[row]}", images, captions))
    text = (
        "From the file to the model. Is the finding still to be seen after each step, is the image upright and black where it "
        "should be, and would a reader accept every augmented one?"
    )
    ids = tuple(str(source.ids[row]) for row in some)
    return Sheet("stages", "Before and after", text, tuple(rows), 2 + EPOCHS, _legend(ready), ids)


def batch_sheet(config: Config, ready: Ready) -> Sheet | str:
    """The first batch of training, to the pixel; or why it cannot be shown."""
    try:
        batch = first_batch(config, ready)
    except DataError as error:
        return str(error)
    more = f", the first {IN_BATCH} of {len(batch)}" if len(batch) > IN_BATCH else ""
    batch = batch[:IN_BATCH]
    row = SheetRow("", *_captioned(ready, batch))
    text = f"The first batch of epoch 1 to the pixel, drawn by sampler {config.data.sampler} and augmented{more}."
    ids = tuple(str(ready.data.source.ids[one.row]) for one in batch)
    return Sheet("batch", "The first batch", text, (row,), legend=_legend(ready), ids=ids)


def unlike_sheet(ready: Ready, likeness: NDArray[np.float64]) -> Sheet:
    """The images that correlate least with what all have in common; likeness (n,) of the chosen."""
    order = np.argsort(likeness, kind="stable")[:UNLIKE]
    shown = [prepared(ready, int(ready.chosen.rows[place])) for place in order]
    notes = [f"{ready.chosen.splits[place]}, r = {likeness[place]:.2f}" for place in order]
    row = SheetRow("", *_captioned(ready, shown, notes))
    text = (
        "The least like what all images looked at have in common, the oddest first; r is the correlation with it. An inverted "
        "film has r far below 0; a lateral, a scout view or another body part stands here too."
    )
    ids = tuple(str(ready.data.source.ids[one.row]) for one in shown)
    return Sheet("unlike", "Unlike the rest", text, (row,), legend=_legend(ready), ids=ids)


def doubt_sheet(ready: Ready, doubts: Mapping[str, ClassDoubts]) -> Sheet | None:
    """Labels that a simple model disagrees with, the most doubtful first; None where there is none."""
    source = ready.data.source
    found = sorted(
        (-float(against), int(place), name)
        for name, one in doubts.items()
        if one.told
        for place, against in zip(one.places, one.against, strict=True)
    )
    seen: set[int] = set()
    first = [entry for entry in found if not (entry[1] in seen or seen.add(entry[1]))][:DOUBTS]  # type: ignore[func-returns-value]
    if not first:
        return None
    column = {name: k for k, name in enumerate(source.classes)}
    shown = [prepared(ready, int(ready.chosen.rows[place])) for _, place, _ in first]
    notes = [
        f"{'looks unlike' if source.targets[one.row, column[name]] == 1 else 'looks like'} {name}"
        for one, (_, _, name) in zip(shown, first, strict=True)
    ]
    text = (
        "Labelled one way, and in thumbnails more like the other, the clearest first. Most are simply hard; a swapped label "
        "would stand among them."
    )
    ids = tuple(str(source.ids[one.row]) for one in shown)
    return Sheet(
        "doubts",
        "Labels to look at twice",
        text,
        (SheetRow("", *_captioned(ready, shown, notes)),),
        legend=_legend(ready),
        ids=ids,
    )


def _captioned(
    ready: Ready, shown: Sequence[Shown], notes: Sequence[str] | None = None
) -> tuple[list[NDArray[np.uint8]], list[list[str]]]:
    source = ready.data.source
    # The end of a path is what tells files apart, and a caption is short.
    captions = [[label_text(source, one.row), str(source.ids[one.row]).rsplit("/", 1)[-1]] for one in shown]
    for caption, note in zip(captions, notes or (), strict=bool(notes)):
        caption.insert(1, note)
    return [_drawn(one) for one in shown], captions


def _drawn(one: Shown) -> NDArray[np.uint8]:
    """The image, with outlines where it has masks."""
    return one.image if one.masks is None else outlined(one.image, one.masks, 2 * SIDE)


def _legend(ready: Ready) -> Legend:
    source = ready.data.source
    return () if source.masks is None else legend_of(source.classes)
