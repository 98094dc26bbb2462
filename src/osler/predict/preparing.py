"""Files become prepared images by a model's card, a batch ahead of the network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from osler.errors import DataError, ModelError
from osler.imaging.depth import Fed, for_network
from osler.imaging.preparation import Preparation
from osler.imaging.read import RawImage, read_image
from osler.runs.card import Card

__all__ = ["Prepared", "Preparing"]


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network, or why it is not.

    Attributes:
        name: the file's path, or what the caller named the image.
        pixels: (C, H, W) of 0 to 255, uint8 or float32 by the preparation, or None where there is an error.
        raw: what was read, where the caller keeps it.
        error: why there are no pixels, or None.
        notes: what was adapted while the image was read.
    """

    name: str
    pixels: Fed | None
    raw: RawImage | None
    error: str | None
    notes: tuple[str, ...]


class Preparing:
    """Prepares images as a model's card says.

    Args:
        card: of the model.
        batch_size: images handed over at once.
        workers: threads that read and prepare images; None: the cores, at most four.
        keep_raw: hand over what was read too.

    Raises:
        ModelError: images would be prepared in another way than in training.
    """

    def __init__(self, card: Card, batch_size: int, workers: int | None, keep_raw: bool = False) -> None:
        self.batch_size = batch_size
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.preparation = Preparation.from_description(card.preparation)
        self._keep_raw = keep_raw
        mine = self.preparation.fingerprint()
        if mine != card.fingerprint:
            raise ModelError(
                f"the model's card says that images were prepared as {card.fingerprint}, but this installation would prepare "
                f"them as {mine} (another version of Osler or of OpenCV, or an edited card). Predictions on differently prepared "
                "images are not those that were evaluated: install the versions in the run's env.json, or train again."
            )

    def batches(self, images: Iterable[Path | str | RawImage], names: Iterable[str] | None = None) -> Iterator[list[Prepared]]:
        """Batches in the order of the images; the next one is being prepared while the caller works on this one.

        Args:
            images: files, or pixels already read.
            names: what to call them; None: the path, or "image N" counted from 1.
        """
        given = iter(names) if names is not None else None
        with ThreadPoolExecutor(self.workers) as pool:
            ready: list[Future[Prepared]] = []
            coming: list[Future[Prepared]] = []
            for number, image in enumerate(images, start=1):
                name = next(given) if given else f"image {number}" if isinstance(image, RawImage) else str(image)
                coming.append(pool.submit(self._prepare, name, image))
                if len(coming) == self.batch_size:
                    if ready:
                        yield [future.result() for future in ready]
                    ready, coming = coming, []
            for futures in (ready, coming):
                if futures:
                    yield [future.result() for future in futures]

    def _prepare(self, name: str, image: Path | str | RawImage) -> Prepared:
        try:
            raw = image if isinstance(image, RawImage) else read_image(Path(image))
            pixels = for_network(self.preparation.apply(raw))
            return Prepared(name, pixels, raw if self._keep_raw else None, None, raw.notes)
        except DataError as error:
            return Prepared(name, None, None, str(error), ())
