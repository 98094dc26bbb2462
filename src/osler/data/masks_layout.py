"""Which mask files belong to which image: found by looking at folders and names, never at pixels.

Understood are, alone and together: folders of images and of masks side by side, or one within the other, with equal names, with
a suffix, or with words for image and mask exchanged; one folder in which masks have a suffix; folders for train, val and test at
any level; a folder or a name part for each class; several files of one class, which are united. Where one image has masks of
several kinds, two observers or two classes, which is meant is asked and not guessed.

Slices of a volume are samples of their own, in whatever order they are found; the patient keeps them in one split.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from osler.config import DataConfig
from osler.data.files import Listing, list_images
from osler.data.labels import plain
from osler.data.mask_names import IMAGE_WORDS, MASK_WORDS, SUFFIX_WORDS, bare_name, ends_of, name_words, without_number
from osler.data.messages import count, require_path, some
from osler.data.split import split_name
from osler.errors import DataError

__all__ = ["Pairs", "class_of", "find_pairs"]

SPLIT_WORDS = {"tr": "train", "ts": "test"}
"""Of nnU-Net's imagesTr and labelsTs."""
MOST_IMAGES = 0.9
"""A suffix without a word for masks is taken as theirs where so many images have a file with it."""


@dataclass(frozen=True)
class Pairs:
    """Images with their masks.

    Attributes:
        images: (N,) names relative to the source's folder, sorted.
        masks: for each image its mask files, as (name, class); the class is an index, or -1 for a file of all classes.
        split: (N,) of "train", "val", "test", or "".
        kinds: names of folders or suffixes of which one image has several masks; more than one must be asked about.
        notes: what was assumed or ignored, one sentence each.
        faults: what is wrong, one sentence each, without a full stop.
    """

    images: tuple[str, ...]
    masks: tuple[tuple[tuple[str, int], ...], ...]
    split: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def paired(self) -> int:
        """Images that have a mask."""
        return sum(bool(files) for files in self.masks)


@dataclass(frozen=True)
class _File:
    """A file's name taken apart.

    Attributes:
        name: relative to the folder.
        split: "train", "val", "test", or "".
        roles: its folders whose name has a word for masks.
        dirs: its other folders, those for splits and images left out.
        stem: the last part without its suffix.
        pictured: whether a folder has a word for images.
    """

    name: str
    split: str
    roles: tuple[str, ...]
    dirs: tuple[str, ...]
    stem: str
    pictured: bool


@dataclass
class _Found:
    """Images, and what became of each mask while they were paired."""

    images: list[_File]
    masks: list[_File]
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    pairs: dict[str, list[tuple[_File, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Image name → (mask, its folder's kind, its suffix's kind)."""


def find_pairs(root: Path, config: DataConfig) -> Pairs:
    """Pairs images and masks below a folder.

    Args:
        root: of the source.
        config: `masks` says what is not to be found by looking.

    Raises:
        DataError: the folder cannot be listed, or nothing in it can be told to be a mask. What is wrong with single files is
            not raised but returned as faults, to be reported with others.
    """
    found = _roles(root, config)
    if not found.masks:
        raise DataError(
            f"{root}: {count(len(found.images), 'image')}, and no masks among them. Expected are folders images and masks side "
            "by side, masks beside their images with a suffix (X.png, X_mask.png), or either below train, val and test. Name "
            "what is there otherwise by data.masks.path or data.masks.suffix; a table of images and masks is data.source: csv."
        )
    _pair(found, config)
    kinds = _kinds(found)
    order = sorted(found.images, key=lambda image: image.name)
    if config.masks.per_class:
        files = [_by_class(found, image, config) for image in order]
        kinds = ()
    else:
        files = [tuple((mask.name, -1) for mask, _, _ in found.pairs.get(image.name, ())) for image in order]
        united = sum(len(several) > 1 for several in files)
        if united and not kinds:
            found.notes.append(f"{count(united, 'image')} with several mask files: they are united.")
    faults = [*found.faults, *_ambiguous(kinds, found)]
    split = tuple(image.split for image in order)
    return Pairs(tuple(image.name for image in order), tuple(files), split, kinds, tuple(found.notes), tuple(faults))


# --- which files are masks --------------------------------------------------------------------------------------------------


def _roles(root: Path, config: DataConfig) -> _Found:
    """Images and masks apart: by `data.masks.path`, by folders, else by suffixes."""
    if not root.is_dir():
        raise DataError(f"{root}: is a file; the source `masks` needs a folder of images and masks")
    listing = list_images(root)
    for suffix in (".csv", ".tsv"):
        del listing.others[suffix]  # a table is not mistaken for an image, and is spoken of by who reads it
    given = config.masks.path
    if given is not None and not _is_folder_name(given, listing.names):
        return _apart(root, listing, require_path(given, "data.masks.path"))
    files = _taken_apart(listing.names, [] if given is None else [given.name])
    masks = [file for file in files if file.roles]
    if masks and len(masks) < len(files):
        images = [file for file in files if not file.roles]
        found = _Found(_pictures(images), masks, list(listing.notes()))
        if len(found.images) < len(images):
            found.notes.append(f"{count(len(images) - len(found.images), 'image')} ignored outside the folders of images.")
        if given is not None:
            found.masks = [mask for mask in masks if given.name in mask.roles]
        return found
    return _by_suffix([replace(file, roles=()) for file in files], config, list(listing.notes()))


def _is_folder_name(path: Path, names: Iterable[str]) -> bool:
    """Whether a path is no more than the name of folders somewhere in the source."""
    if len(path.parts) != 1:
        return False
    return any(path.name in PurePosixPath(name).parts[:-1] for name in names)


def _apart(root: Path, listing: Listing, folder: Path) -> _Found:
    """A folder of masks named by its path, inside the source's folder or elsewhere."""
    if not folder.is_dir():
        raise DataError(f"data.masks.path: {folder} is a file; a folder of masks is expected")
    inside = folder.resolve().is_relative_to(root.resolve())
    prefix = folder.resolve().relative_to(root.resolve()).as_posix() if inside else folder.absolute().as_posix()
    within = list_images(folder)
    images = [name for name in listing.names if not (inside and name.startswith(f"{prefix}/"))]
    masks = [replace(file, roles=(), name=f"{prefix}/{file.name}") for file in _taken_apart(within.names, [])]
    plain_images = [replace(file, roles=()) for file in _taken_apart(images, [])]
    return _Found(_pictures(plain_images), masks, list((within if inside else listing).notes()))


def _taken_apart(names: Sequence[str], mask_folders: Sequence[str]) -> list[_File]:
    """Names with what their folders say; folders that all files share say nothing."""
    paths = [PurePosixPath(name) for name in names]
    shared = 0
    while paths and all(len(path.parts) > shared + 1 and path.parts[shared] == paths[0].parts[shared] for path in paths):
        shared += 1
    return [_file(path, shared, mask_folders) for path in paths]


def _file(path: PurePosixPath, shared: int, mask_folders: Sequence[str]) -> _File:
    split, pictured = "", False
    roles: list[str] = []
    dirs: list[str] = []
    for part in path.parts[shared:-1]:
        words = name_words(part)
        named = [known for word in words if (known := split_name(word) or SPLIT_WORDS.get(word))]
        split = split or (named[0] if named else "")
        if part in mask_folders or MASK_WORDS & {*words, plain(part)}:
            roles.append(part)
        elif IMAGE_WORDS & set(words):
            pictured = True
        elif not named:
            dirs.append(part)
    stem = path.name.removesuffix(".gz").removesuffix(".GZ")
    return _File(str(path), split, tuple(roles), tuple(dirs), stem[: stem.rfind(".")], pictured)


def _pictures(files: list[_File]) -> list[_File]:
    """Those in folders that are called images, where there are such; else all."""
    called = [file for file in files if file.pictured]
    return called or files


def _by_suffix(files: list[_File], config: DataConfig, notes: list[str]) -> _Found:
    """Masks beside their images: files whose name is another's with a suffix."""
    stems = {(file.split, file.dirs, file.stem) for file in files}
    ends: dict[str, str] = {}
    for file in files:
        fitting = [end for end in ends_of(file.stem) if (file.split, file.dirs, file.stem[: -len(end)]) in stems]
        if fitting:
            # Of X_mask_1 beside X_mask and X the suffix is _mask_1.
            ends[file.name] = next((end for end in fitting if SUFFIX_WORDS & set(name_words(end))), fitting[0])
    wanted = config.masks.suffix
    worded = {name: end for name, end in ends.items() if SUFFIX_WORDS & set(name_words(end))}
    if wanted is not None:
        chosen = {file.name for file in files if without_number(file.stem).endswith(wanted) or file.stem.endswith(wanted)}
        taken = chosen | worded.keys()
    elif worded:
        chosen = taken = set(worded)
    else:
        chosen = taken = _usual_end(ends, len(files))
    left_out = len(taken - chosen)
    if left_out:
        notes.append(f"{count(left_out, 'mask')} with another suffix than data.masks.suffix ({wanted}) ignored.")
    images = [file for file in files if file.name not in taken]
    return _Found(images, [file for file in files if file.name in chosen], notes)


def _usual_end(ends: dict[str, str], files: int) -> set[str]:
    """Files of the one suffix that nearly every image has, numbers alone not counting."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for name, end in ends.items():
        if without_number(end):
            kinds[without_number(end)].add(name)
    masks = max(kinds.values(), key=len, default=set())
    return masks if masks and len(masks) >= MOST_IMAGES * (files - len(masks)) else set()


# --- which image a mask belongs to ------------------------------------------------------------------------------------------


def _pair(found: _Found, config: DataConfig) -> None:
    """Gives each mask its image, and collects those that have none."""
    folders = {part for image in found.images for part in image.dirs}
    index = _Index(found.images)
    strange = []
    for mask in found.masks:
        dirs = tuple(part for part in mask.dirs if part in folders)
        own = "/".join((*mask.roles, *(part for part in mask.dirs if part not in folders)))
        matched = index.image_of(replace(mask, dirs=dirs), config.masks.suffix)
        if matched is None:
            strange.append(mask.name)
        else:
            found.pairs[matched[0]].append((mask, own, matched[1]))
    if strange:
        found.faults.append(f"{count(len(strange), 'mask')} without an image: {some(strange)}; remove them, or give the image")
    bare_images = [image.name for image in found.images if image.name not in found.pairs]
    if bare_images and config.masks.missing == "error":
        found.faults.append(
            f"{len(bare_images):,} of {count(len(found.images), 'image')} have no mask: {some(bare_images)}; give one, or set "
            "data.masks.missing: empty if there is nothing to find in them"
        )
    elif bare_images:
        found.notes.append(
            f"{count(len(bare_images), 'image')} without a mask taken as empty (data.masks.missing: empty): {some(bare_images)}."
        )


class _Index:
    """Images by what a mask may have in common with them."""

    def __init__(self, images: Iterable[_File]) -> None:
        self.exact: dict[tuple[str, tuple[str, ...], str], _File] = {}
        self.bare: dict[tuple[str, tuple[str, ...], str], list[_File]] = defaultdict(list)
        self.anywhere: dict[str, list[_File]] = defaultdict(list)
        for image in images:
            self.exact[image.split, image.dirs, image.stem] = image
            self.bare[image.split, image.dirs, bare_name(image.stem)].append(image)
            self.anywhere[image.stem].append(image)

    def image_of(self, mask: _File, suffix: str | None) -> tuple[str, str] | None:
        """The image of a mask and the kind of its suffix, or None.

        In the same folders an equal name comes first, then the longest that the mask's begins with, then one that differs by
        words for image and mask; last the only image of that name in any folder.
        """
        ends = [""] if suffix is None else [suffix] if mask.stem.endswith(suffix) else []
        ends += [end for end in ends_of(mask.stem) if suffix is None or end.startswith(suffix)]
        for end in ends:
            image = self.exact.get((mask.split, mask.dirs, mask.stem[: len(mask.stem) - len(end)]))
            if image is not None:
                return image.name, without_number(end).lower()
        alike = self.bare.get((mask.split, mask.dirs, bare_name(mask.stem)), []) if suffix is None else []
        if len(alike) == 1:
            return alike[0].name, ""
        for end in ends:
            same = self.anywhere.get(mask.stem[: len(mask.stem) - len(end)], [])
            if len(same) == 1 and same[0].split in ("", mask.split or same[0].split):
                return same[0].name, without_number(end).lower()
        return None


# --- several masks of one image ---------------------------------------------------------------------------------------------


def _kinds(found: _Found) -> tuple[str, ...]:
    """Kinds of masks, by folder or suffix, of which one image has several; empty where each has one kind."""
    by_folder: set[str] = set()
    by_suffix: set[str] = set()
    for several in found.pairs.values():
        folders, suffixes = {own for _, own, _ in several}, {end for _, _, end in several}
        by_folder |= folders if len(folders) > 1 else set()
        by_suffix |= suffixes if len(suffixes) > 1 else set()
    return tuple(sorted(by_folder or by_suffix))


def _ambiguous(kinds: Sequence[str], found: _Found) -> list[str]:
    if not kinds:
        return []
    sizes = Counter(kind for several in found.pairs.values() for _, own, end in several for kind in {own, end} if kind in kinds)
    names = ", ".join(f"{kind or '(no suffix)'} ({sizes[kind]:,})" for kind in kinds)
    classes = ", ".join(kind.rpartition("/")[2].strip("_- ") or "..." for kind in kinds)
    return [
        f"images have masks of several kinds: {names}. If one is meant, name it by data.masks.path (a folder) or "
        "data.masks.suffix (the end of the name); if they are classes, set data.masks.per_class: true and "
        f"data.classes: [{classes}]"
    ]


def _by_class(found: _Found, image: _File, config: DataConfig) -> tuple[tuple[str, int], ...]:
    """The masks of an image with the class that each one's folder or suffix names; one that names none is a fault."""
    files = []
    for mask, own, end in found.pairs.get(image.name, ()):
        index = class_of(f"{own}/{end}", config.classes or ())
        if index is None:
            found.faults.append(
                f"{mask.name}: neither folder nor suffix names one of data.classes ({some(config.classes or (), 10)})"
            )
        else:
            files.append((mask.name, index))
    return tuple(files)


def class_of(said: str, classes: Sequence[str]) -> int | None:
    """The class that folders and a suffix name, the last part first; numbers before a name do not count.

    >>> class_of("masks/1. Hard Exudates/_ex", ["Hard Exudates", "Haemorrhages"])
    0
    """
    known = {plain(name): index for index, name in enumerate(classes)}
    for part in reversed(said.split("/")):
        words = [plain(part), plain(part).lstrip("0123456789"), *(plain(word) for word in re.split(r"[\W_]+", part))]
        for word in words:
            if word in known:
                return known[word]
    return None
