"""Image files on disk: what a folder holds, and which file a table's cell means."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from osler.data.messages import count
from osler.errors import DataError
from osler.imaging.read import IMAGE_SUFFIXES, ImageInfo, RawImage, named_part, probe_image, read_image

__all__ = ["FileImages", "Listing", "Located", "is_image_name", "list_images", "locate_images"]

# A folder with more entries than this is not searched for files that a table names loosely: it is hardly a set of images.
MOST_SEARCHED = 2_000_000


@dataclass(frozen=True)
class FileImages:
    """Images in files of their own.

    Attributes:
        root: the folder that names are relative to.
        names: (N,) paths relative to `root`, or absolute.
    """

    root: Path
    names: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> Path:
        """Where one image lies."""
        return self.root / str(self.names[row])

    def read(self, row: int) -> RawImage:
        """The pixels of one image; DataError, naming the file, where it cannot be read."""
        return read_image(self.path(row))

    def probe(self, row: int) -> ImageInfo:
        """Size and depth from the file's header."""
        return probe_image(self.path(row))

    def identity(self, row: int) -> str:
        """Path, size and time of change of the file; DataError where it is gone."""
        path, part, number = named_part(os.path.abspath(self.path(row)))
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}; it was there when the source was listed") from error
        of_file = "" if part is None else f"#{part}={number}"
        return f"{path}{of_file}|{status.st_size}|{status.st_mtime_ns}"

    def take(self, rows: NDArray[np.intp]) -> FileImages:
        """The images of these rows, in this order."""
        return replace(self, names=self.names[rows])


@dataclass
class Listing:
    """The files below a folder, without a look at their content.

    Attributes:
        names: image files relative to the folder with "/" between parts, sorted.
        hidden: files and folders whose name begins with a dot, or that an archive left behind; not looked into.
        links: linked folders that lead back here, to a folder above or to one that is read anyway; the others are followed.
        others: files that are no image by their name, by suffix.
    """

    names: list[str] = field(default_factory=list)
    hidden: int = 0
    links: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def add(self, other: Listing, prefix: str) -> None:
        """Takes over another folder's listing, its names put below `prefix`."""
        self.names += [f"{prefix}/{name}" for name in other.names] if prefix else other.names
        self.hidden += other.hidden
        self.links += other.links
        self.others += other.others

    def notes(self) -> tuple[str, ...]:
        """What was passed over, one sentence each."""
        kinds = ", ".join(f"{number:,} {suffix or 'without a suffix'}" for suffix, number in self.others.most_common(5))
        total = sum(self.others.values())
        led = "what they lead to is read anyway, or holds this folder"
        said = (
            (self.hidden, f"{count(self.hidden, 'hidden file or folder', 'hidden files or folders')} ignored."),
            (
                self.links,
                f"{count(self.links, 'linked folder')} not followed: {led}.",
            ),
            (total, f"{count(total, 'file')} ignored as no image by the name ({kinds}); read are {', '.join(IMAGE_SUFFIXES)}."),
        )
        return tuple(sentence for number, sentence in said if number)


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as an image's does; a frame or slice of it may be named.

    >>> is_image_name("a.JPG"), is_image_name("ct.nii.gz#z=80"), is_image_name("a.txt")
    (True, True, False)
    """
    return named_part(name)[0].lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a name is one that people do not mean: dot files, and what archives and thumbnails leave behind.

    >>> is_hidden(".DS_Store"), is_hidden("__MACOSX"), is_hidden("a.png")
    (True, True, False)
    """
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini", "lost+found")


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that goes in a circle leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_images(folder: Path, most: int | None = None) -> Listing:
    """All image files below a folder; one directory scan a folder and no look at a file, so 100,000 take well under a second.

    Args:
        folder: where to look.
        most: give up, with an empty listing, when there are more entries than this.

    Raises:
        DataError: the folder cannot be listed.
    """
    listing, seen, walk = Listing(), 0, _Walk(folder)
    for prefix, entries in walk.run():
        seen += len(entries)
        if most is not None and seen > most:
            return Listing()
        for entry in entries:
            if is_hidden(entry.name):
                listing.hidden += 1
            elif entry.is_dir(follow_symlinks=False) or _is_linked_folder(entry):
                continue
            elif is_image_name(entry.name):
                listing.names.append(prefix + entry.name)
            else:
                listing.others[PurePosixPath(entry.name).suffix.lower()] += 1
    listing.links = walk.passed_over
    listing.names.sort()
    return listing


def _is_linked_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to a folder; a link that has an image's name is taken for an image without a look at it."""
    return not is_image_name(entry.name) and entry.is_symlink() and is_folder(entry)


class _Walk:
    """Every folder below one, each once: its own folders first, then linked ones that were not met and do not hold it.

    Attributes:
        passed_over: linked folders that were not entered.
    """

    def __init__(self, folder: Path) -> None:
        self.passed_over = 0
        self._folder = folder
        self._links: list[str] = []
        self._met: set[tuple[int, int]] = set()

    def run(self) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Each folder's path relative to the first, "" or with "/" at its end, and what is in it."""
        yield from self._below("")
        above = {_place(parent) for parent in self._folder.resolve().parents}
        while self._links:
            prefix = heappop(self._links)
            if _place(self._folder / prefix) in self._met | above:
                self.passed_over += 1
            else:
                yield from self._below(prefix)

    def _below(self, start: str) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        waiting = [start]
        while waiting:
            prefix = waiting.pop()
            try:
                place = _place(self._folder / prefix)
                if place in self._met:  # a linked folder may hold one that a link led to before
                    self.passed_over += 1
                    continue
                self._met.add(place)
                with os.scandir(self._folder / prefix) as entries:
                    found = list(entries)
            except OSError as error:
                raise DataError(f"{self._folder / prefix}: cannot be listed: {error.strerror}") from error
            yield prefix, found
            for entry in found:
                if not is_hidden(entry.name) and entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{prefix}{entry.name}/")
                elif not is_hidden(entry.name) and _is_linked_folder(entry):
                    heappush(self._links, f"{prefix}{entry.name}/")


def _place(folder: Path) -> tuple[int, int]:
    """What a folder is whatever it is called: its device and its number there."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


# --- from a table's cells to files ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """Which file each cell of a table means.

    Attributes:
        names: (N,) paths relative to the root; "" where there is no file, or more than one it could be.
        ambiguous: cell to the files it could mean.
        notes: how cells were read where they were not plain paths, one sentence each.
    """

    names: NDArray[np.str_]
    ambiguous: dict[str, list[str]]
    notes: tuple[str, ...]


def locate_images(cells: Sequence[str], root: Path, folders: Sequence[str] = ("images", "")) -> Located:
    """Finds the files that cells name.

    First as paths from `root`. What is not there is looked for in each of `folders`, "" being all of `root`: as the end of a
    path, and for cells without an image suffix also with one added. A cell that fits several files is left open.

    Args:
        cells: (N,) texts.
        root: the folder that relative paths start at.
        folders: below `root`, in the order in which they are searched.
    """
    wanted = {cell: cell.replace("\\", "/") for cell in cells if cell}
    existing = _existing(set(wanted.values()), root)
    meant = {cell: path for cell, path in wanted.items() if path in existing}
    ambiguous: dict[str, list[str]] = {}
    notes: list[str] = []
    for folder in folders:
        still_open = {cell: path for cell, path in wanted.items() if cell not in meant and cell not in ambiguous}
        if not still_open or not (root / folder).is_dir():
            continue
        listing = Listing()
        listing.add(list_images(root / folder, MOST_SEARCHED), folder)
        found, several = _match(still_open, listing.names)
        meant |= found
        ambiguous |= several
        if found:
            cell, name = next(iter(found.items()))
            notes.append(f"{count(len(found), 'image')} were found below {root} by name: {cell!r} is {name!r}.")
    return Located(np.array([meant.get(cell, "") for cell in cells], dtype=str), ambiguous, tuple(notes))


def _existing(paths: set[str], root: Path) -> set[str]:
    """The image files among these paths, by one scan of each folder named instead of a look at each file."""
    existing = set()
    for prefix in {path[: path.rfind("/") + 1] for path in paths}:
        folder = os.path.join(root, prefix)
        if os.path.isdir(folder):
            with os.scandir(folder) as entries:
                existing |= {prefix + entry.name for entry in entries if is_image_name(entry.name)}
    return existing & paths


def _match(wanted: dict[str, str], names: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Cells that are the end of one file's path, part by part, the suffix of the file left out where the cell has none; and those
    that are the end of several.

    >>> _match({"a/1": "a/1", "2.png": "2.png"}, ["x/a/1.png", "y/2.png", "z/2.png"])
    ({'a/1': 'x/a/1.png'}, {'2.png': ['y/2.png', 'z/2.png']})
    """
    meant: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    # By depth: sets that call each study's film the same, such as view1_frontal.jpg, have 100,000 files of one name.
    for depth in {path.count("/") for path in wanted.values()}:
        ends: dict[str, list[str]] = {}
        for name in names:
            end = "/".join(name.rsplit("/", depth + 1)[-depth - 1 :])
            if name.count("/") >= depth:
                ends.setdefault(end, []).append(name)
                ends.setdefault(end[: end.rfind(".")], []).append(name)
        for cell, path in wanted.items():
            fits = ends.get(path, []) if path.count("/") == depth else []
            if len(fits) == 1:
                meant[cell] = fits[0]
            elif fits:
                several[cell] = fits
    return meant, several
