"""What the pixel values of a set's masks mean, and what is wrong with them over all files together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from osler.config import DataConfig
from osler.data.labels import plain
from osler.data.masks_survey import Look
from osler.data.messages import count, some
from osler.imaging.masks import MaskMeaning

__all__ = ["Meaning", "configured_meaning", "look_faults", "settled"]

ONE_CLASS = "foreground"
"""The class of masks that have one, where nothing names it."""


@dataclass(frozen=True)
class Meaning:
    """What mask files say.

    Attributes:
        classes: K names.
        whole: of a file that holds all classes.
        single: K, of a file that holds one class.
        apart: each class has files of its own.
        faults: in the configuration, one sentence each without a full stop.
        notes: what was assumed, one sentence each.
    """

    classes: tuple[str, ...]
    whole: MaskMeaning
    single: tuple[MaskMeaning, ...]
    apart: bool = False
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, index: int) -> MaskMeaning:
        """Of a file of one class, or of all for -1."""
        return self.whole if index < 0 else self.single[index]

    def open(self) -> Meaning:
        """The same classes, with every value but 0 and the ignored one as foreground of all that a file speaks of."""
        anything = replace(self.whole, values=None)
        return replace(self, whole=anything, single=(anything,) * len(self.classes))


def configured_meaning(config: DataConfig, classes: Sequence[str] | None) -> Meaning:
    """What `data.masks` says before a mask is looked at; without values every one but 0 counts until they are known.

    Args:
        config: of the source.
        classes: names of the classes that have files of their own; None: files hold all classes.
    """
    masks, faults, notes = config.masks, list[str](), list[str]()
    given = dict(masks.values) if isinstance(masks.values, dict) else {}
    for name in [name for name, values in given.items() if values == (0,)]:
        notes.append(f"{name!r} is value 0, the background, and no class of its own.")
        del given[name]
    if given and masks.threshold is not None:
        faults.append("data.masks.values and data.masks.threshold exclude each other: take one out")
    repeated = [value for value, times in Counter(value for values in given.values() for value in values).items() if times > 1]
    if repeated and classes is None:
        faults.append(f"data.masks.values: {some(repeated)} has several meanings")
    if any({0, masks.ignore} & set(values) for values in given.values()):
        faults.append("data.masks.values: 0 is background and data.masks.ignore is unknown; neither can be a class too")
    names = tuple(classes or config.classes or given or (ONE_CLASS,))
    if given and set(given) != set(names):
        faults.append(f"data.masks.values names {some(given, 10)}, data.classes {some(names, 10)}: they must be the same")
    apart = classes is not None
    if faults or not given:
        open_meaning = MaskMeaning(None, masks.ignore, masks.threshold)
        return Meaning(names, open_meaning, (open_meaning,) * len(names), apart, tuple(faults), tuple(notes))
    single = tuple(MaskMeaning((given[name],), masks.ignore) for name in names)
    return Meaning(names, MaskMeaning(tuple(given[name] for name in names), masks.ignore), single, apart, (), tuple(notes))


def settled(meaning: Meaning, looks: Sequence[Look | None], config: DataConfig) -> tuple[Meaning, list[str]]:
    """The meaning with the values found where none are given, and what is wrong with the values over all files.

    Args:
        meaning: as configured.
        looks: at each image's mask.
        config: of the source.
    """
    if meaning.whole.threshold is not None:
        several = len(meaning.classes) > 1 and not meaning.apart
        return meaning, ["data.masks.threshold makes one class; data.classes names several"] if several else []
    differing = _palette_faults(looks)
    if differing:
        return meaning, differing
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    together = False
    for look in looks:
        found = set(look.values) - {0, config.masks.ignore} if look is not None else set()
        images.update(found)
        pixels.update({value: look.values[value] for value in found} if look is not None else {})
        together = together or len(found) > 1
    if meaning.whole.values is not None:
        unknown = sorted(set(images) - {value for values in meaning.whole.values for value in values})
        return meaning, _without_meaning(unknown, images, pixels)
    if len(images) > 1 and config.masks.values == "auto":
        return meaning, [_needs_names(images, pixels, together, meaning, config)]
    if len(meaning.classes) > 1 and not meaning.apart:
        return meaning, [
            f"data.classes names {len(meaning.classes)} classes, and the masks hold "
            f"{f'one value, {next(iter(images))}' if images else 'no value'} besides 0: correct data.classes, or set "
            "data.masks.per_class where each class has files of its own"
        ]
    one = MaskMeaning((tuple(sorted(images)) or (255,),), config.masks.ignore)
    return replace(meaning, whole=one, single=(one,) * len(meaning.classes)), []


def _palette_faults(looks: Sequence[Look | None]) -> list[str]:
    """Labels that are one colour in one mask and another in the next."""
    colours: dict[int, Counter[int]] = defaultdict(Counter)
    for look in looks:
        for value, colour in look.colours.items() if look is not None else ():
            colours[value][colour] += 1
    differing = {value: seen for value, seen in colours.items() if len(seen) > 1}
    if not differing:
        return []
    value, seen = next(iter(differing.items()))
    shown = some((f"({c >> 16}, {c >> 8 & 255}, {c & 255}) in {count(masks, 'mask')}" for c, masks in seen.most_common()), 4)
    return [
        f"the colours of the masks differ from file to file: label {value} is {shown}. Save all with one palette, or as gray "
        "images with one value a class"
    ]


def _without_meaning(unknown: Sequence[int], images: Counter[int], pixels: Counter[int]) -> list[str]:
    if not unknown:
        return []
    return [
        f"pixel values without a meaning: {_table(unknown, images, pixels)}. Name them in data.masks.values, set "
        "data.masks.ignore if they are unknown, or correct the masks"
    ]


def _needs_names(images: Counter[int], pixels: Counter[int], together: bool, meaning: Meaning, config: DataConfig) -> str:
    """Several values, and no word on what they mean."""
    values = sorted(images)
    known = plain(" ".join(meaning.classes)) != plain(ONE_CLASS) and len(meaning.classes) == len(values)
    names = meaning.classes if known else tuple(f"name_of_{value}" for value in values)
    example = ", ".join(f"{name}: [{value}]" for name, value in zip(names[:6], values, strict=False))
    said = (
        f"the masks hold {len(values)} values besides 0: {_table(values, images, pixels)}. What they mean must be said, such as "
        f"data.masks.values: {{{example}{', ...' if len(values) > 6 else ''}}}"
    )
    if not together:
        return f"{said}. No mask holds two of them: if they mean the same, {{{meaning.classes[0]}: {values}}}"
    if 255 in values and config.masks.ignore is None and len(values) <= 4:
        return f"{said}; and if 255 marks what is unknown, data.masks.ignore: 255"
    return said


def _table(values: Sequence[int], images: Counter[int], pixels: Counter[int]) -> str:
    return some((f"{value} ({count(images[value], 'image')}, {pixels[value]:,} pixels)" for value in values), 12)


def look_faults(
    looks: Sequence[Look | None], unread: dict[int, str], names: Sequence[str], meaning: Meaning, config: DataConfig
) -> list[str]:
    """What is wrong with single masks, grouped, and with the set as a whole.

    Args:
        looks: (N,) at each image's mask.
        unread: row to why its mask or image cannot be read.
        names: (N,) of the images' masks, for messages.
        meaning: settled.
        config: of the source.
    """
    faults = []
    if unread and config.unreadable == "error":
        faults.append(
            f"{count(len(unread), 'mask')} cannot be read: {some(unread.values(), 3)}; mend or remove them, or set "
            "data.unreadable: skip"
        )
    seen = [(name, look) for name, look in zip(names, looks, strict=True) if look is not None]
    odd = [(name, look) for name, look in seen if look.odd]
    if odd:
        faults.append(f"{count(len(odd), 'mask')} of {len(names):,} hold no labels, such as {odd[0][0]}: {odd[0][1].odd}")
    faults += _size_faults(seen)
    if not seen or odd or faults:
        return faults
    totals = [sum(look.foreground[index] for _, look in seen) for index in range(len(meaning.classes))]
    if not any(totals):
        faults.append(
            "every mask is empty: no pixel is foreground. Check that these are the masks, and data.masks.values or "
            "data.masks.threshold where they are set"
        )
        return faults
    absent = [name for name, total in zip(meaning.classes, totals, strict=True) if not total]
    if absent:
        faults.append(f"{some(absent, 10)} occurs in no mask: correct data.masks.values, or leave the class out")
    return faults


def _size_faults(seen: Sequence[tuple[str, Look]]) -> list[str]:
    wrong = [(name, look) for name, look in seen if look.size != look.image]
    if not wrong:
        return []
    shown = some((f"{name} {_pixels(look.size)}, its image {_pixels(look.image)}" for name, look in wrong), 3)
    turned = all(look.size == look.image[::-1] for _, look in wrong)
    advice = (
        "height and width are exchanged: was the image turned by its orientation tag, or the mask saved transposed?"
        if turned
        else "save them at the size of their images, resampled as labels, not as pixels"
    )
    return [f"{count(len(wrong), 'mask')} of another size than the image: {shown}; {advice}"]


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"
