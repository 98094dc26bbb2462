"""`osler prepare`: prepares all images of a configuration before anything is trained, so that a run begins with a step."""

from __future__ import annotations

import csv
import io
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.config import Config
from osler.data.cache import PackedCache, cache_folder, open_cache
from osler.data.load import Data, load_data
from osler.data.messages import count
from osler.errors import lookup
from osler.files import write_text
from osler.imaging.preparation import Preparation
from osler.prepare.engines import ENGINES
from osler.prepare.progress import Meter, duration
from osler.prepare.shares import WHOLE, Share, parse_share
from osler.prepare.work import Work
from osler.train.resolve import resolve
from osler.train.setup import survey_masks

__all__ = ["Prepared", "prepare_config", "prepare_data"]

WIDTH = 110
_SHOWN = 5


@dataclass(frozen=True)
class Prepared:
    """What is in the cache now.

    Attributes:
        folder: of the cache; that of this source under this preparation.
        images: how many were asked for, all splits together; with `--shard`, of this part.
        made: how many of them were prepared now.
        unreadable: why, of each image that cannot be used.
        quarantine: the table of these; None where there are none.
        share: the part.
        whole: images of the whole set.
        ready: how many of the whole set are prepared, by whomever.
        seconds: how long it took.
        notes: what was found damaged or changed, one sentence each.
    """

    folder: Path
    images: int
    made: int
    unreadable: tuple[str, ...]
    quarantine: Path | None
    share: Share
    whole: int
    ready: int
    seconds: float
    notes: tuple[str, ...]

    def text(self) -> str:
        """What a person wants to know of it."""
        said = f"{self.made:,} of {count(self.images, 'image')} prepared in {duration(self.seconds)}"
        if self.made and self.seconds > 1:
            said += f" ({self.made / self.seconds:,.0f}/s)"
        kept = self.images - self.made - len(self.unreadable)
        said += f"; {kept:,} were already" if kept else ""
        lines = [f"{said}."]
        if self.share.of > 1:
            lines.append(
                f"Part {self.share.number} of {self.share.of}; of the whole set {self.ready:,} of {self.whole:,} are ready."
            )
        if self.unreadable:
            lines.append(
                f"{count(len(self.unreadable), 'image')} cannot be used ({self.quarantine}); training stops at them unless "
                "data.unreadable: skip"
            )
            lines += [f"  {why}" for why in self.unreadable[:_SHOWN]]
        lines += [line for note in self.notes for line in textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="  ")]
        return "\n".join(lines)


def prepare_config(config: Config, shard: str | None = None, engine: str = "processes", check: bool = False) -> Prepared:
    """Prepares every image that a configuration uses and its cache lacks; training then finds everything there.

    May be killed at any moment and started again, and started twice at once. Images that cannot be used are put down in
    quarantine.csv and stop nothing, unless there are more than `data.unreadable_limit`.

    Args:
        config: as given.
        shard: "i/n", the part of this machine among several that write to one folder; null: everything.
        engine: "processes" of this machine, or "ray".
        check: read every byte that is prepared already, against its checksum.

    Raises:
        ConfigError: there is no such part or engine, or the configuration does not fit the images.
        DataError: the data cannot be read, the disk is full, or too many images cannot be used.
    """
    return prepare_data(config, load_data(config.data), shard, engine, check)


def prepare_data(
    config: Config, data: Data, shard: str | None = None, engine: str = "processes", check: bool = False
) -> Prepared:
    """The same for data that are loaded already."""
    share, work = parse_share(shard), lookup(ENGINES, engine, "--engine")
    config = resolve(config, data)
    assert config.data.workers != "auto", "the configuration is resolved"
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    everything = np.sort(np.concatenate(list(data.rows.values()))).astype(np.int64)
    rows = share.take(everything)
    start = time.monotonic()
    missing = cache.find_missing(rows, everything=check)
    most = config.data.most_unreadable(len(rows))
    try:
        with Meter() as meter:
            work(Work(cache, rows, share, config.data.workers, most, meter))
    finally:
        bad = [row for row in rows.tolist() if row in cache.unreadable]
        quarantine = _write_quarantine(cache, bad, share)
    if share == WHOLE:
        survey_masks(data.without(set(bad)) if bad else data, cache, None)
    return Prepared(
        folder=cache.store.folder,
        images=len(rows),
        made=len(missing) - int(np.isin(missing, bad).sum()),
        unreadable=tuple(cache.unreadable[row] for row in bad),
        quarantine=quarantine,
        share=share,
        whole=len(everything),
        ready=cache.ready(everything),
        seconds=time.monotonic() - start,
        notes=(*data.notes, *cache.notes),
    )


def _write_quarantine(cache: PackedCache, rows: list[int], share: Share) -> Path | None:
    """A table of the images that cannot be used, and why; one of before is taken away where there are none."""
    path = cache.store.folder / f"quarantine{share.name}.csv"
    if not rows:
        path.unlink(missing_ok=True)
        return None
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "why"])
    writer.writerows((cache.samples.ids[row], cache.unreadable[row]) for row in rows)
    write_text(path, table.getvalue())
    return path
