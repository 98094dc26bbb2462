"""The chest behind the phantom: a person's anatomy as numbers, and its attenuation drawn on a grid.

Everything is drawn in half-spaces: side 0 is the left of the picture (the patient's right), side 1 the right, each with
`across` running from the midline outwards and `down` from the top of the picture (-1) to its bottom (+1). The picture is
[-1, 1] squared, some 36 cm a side; the canvas reaches a little further, so that a film may be turned and shifted. Values
are attenuation: air is near 0 (dark), bone and belly near 1 (bright), and what lies in line adds up, as it does on film.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Chest",
    "Field",
    "Frame",
    "Person",
    "diaphragm",
    "draw_chest",
    "frame_of",
    "lung_extent",
    "lung_shape",
    "ramp",
    "silhouette",
]

Field = NDArray[np.float32]

MARGIN = 1.2
"""Side of the canvas over that of the picture."""
UPPER_NORMAL = 0.485
"""No heart without cardiomegaly takes a larger part of the thorax's width than this; the textbook limit is 0.5."""
LOWER_ENLARGED = 0.502
"""And none with it a smaller one."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The grid of one picture size; `frame_of` gives the same one each time.

    Attributes:
        size: side of the picture in pixels.
        side: side of the canvas in pixels, even.
        down: (side, 1) position of each row.
        across: (1, side / 2) distance of each column of a half-space from the midline, all positive.
    """

    size: int
    side: int
    down: Field
    across: Field

    @property
    def unit(self) -> float:
        """Pixels of one unit of length."""
        return self.size / 2

    @property
    def softness(self) -> float:
        """Half-width of a sharp edge: about one pixel, and never less than the body's own blur."""
        return max(0.012, 0.8 / self.unit)

    def blank(self) -> NDArray[np.uint8]:
        """(2, side, side / 2) zeros to draw lines and polygons on."""
        return np.zeros((2, self.side, self.side // 2), np.uint8)

    def fixed_point(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """(..., 2) positions (across, down) as OpenCV's coordinates with four fractional bits."""
        pixels = points * self.unit + (0.0, self.side / 2) - 0.5
        return np.round(pixels * 16).astype(np.int32)


@lru_cache(maxsize=8)
def frame_of(size: int) -> Frame:
    """The frame of a picture size; kept, since every image of a set needs the same."""
    side = 2 * math.ceil(size * MARGIN / 2)
    down = ((np.arange(side) + 0.5 - side / 2) / (size / 2)).astype(np.float32)
    return Frame(size=size, side=side, down=down[:, None], across=down[None, side // 2 :])


@dataclass(frozen=True)
class Person:
    """What the anatomy depends on besides chance.

    Attributes:
        sex: "F" or "M".
        age: years.
        view: "PA" or "AP".
    """

    sex: str
    age: int
    view: str


@dataclass(frozen=True)
class Chest:
    """One chest on one film, as numbers; lengths in units of half the picture's side, pairs are (side 0, side 1).

    Attributes:
        width: half the inner width of the thorax.
        apex: top of the lungs.
        domes: tops of the diaphragm.
        angles: depth of the costophrenic angles below the domes.
        heart: widths of the heart to either side of the midline.
        knob: prominence of the aortic arch.
        shoulder: half-width of the body at the armpits.
        thickness: attenuation of the body's soft tissue.
        breast: density of the breast shadows; 0 for none.
        bone: density of bone, 1 on average.
        person: whose chest it is.
    """

    width: float
    apex: float
    domes: tuple[float, float]
    angles: tuple[float, float]
    heart: tuple[float, float]
    knob: float
    shoulder: float
    thickness: float
    breast: float
    bone: float
    person: Person

    @property
    def ratio(self) -> float:
        """Cardiothoracic ratio: the heart's transverse width over the inner width of the thorax."""
        return sum(self.heart) / (2 * self.width)


def ramp(distance: Field, softness: float) -> Field:
    """A soft step: 0 below -softness, 1 above +softness, straight between.

    >>> ramp(np.array([-1.0, 0.0, 0.05], np.float32), 0.1).tolist()
    [0.0, 0.5, 0.75]
    """
    risen: Field = np.clip(distance * np.float32(0.5 / softness) + np.float32(0.5), 0, 1)
    return risen


# --- the anatomy in numbers -------------------------------------------------------------------------------------------------


def draw_chest(
    person: Person, enlarged: float | None, patient: np.random.Generator, image: np.random.Generator, crowding: float = 0.0
) -> Chest:
    """Draws the anatomy: `patient` decides what stays with a person, `image` what differs between two films.

    Args:
        person: sex, age and view shift the means a little.
        enlarged: cardiothoracic ratio of a heart with cardiomegaly; None draws a normal one.
        patient: the patient's random numbers.
        image: the image's random numbers.
        crowding: 0 to 1, how far normal hearts draw near the limit of what is normal.
    """
    woman, supine = person.sex == "F", person.view == "AP"
    own = patient.normal(size=13)
    breath = image.normal(size=4)
    width = float(np.clip(0.715 + 0.036 * own[0] - 0.025 * woman, 0.62, 0.8))
    top = 0.35 + 0.055 * own[1] + 0.04 * breath[0] - 0.05 * supine
    tilt = 0.05 + 0.025 * own[2]
    normal = 0.435 + 0.04 * crowding + 0.026 * own[3] + 0.012 * supine + 0.0002 * (person.age - 50) + 0.006 * breath[1]
    ratio = np.clip(normal, 0.36, UPPER_NORMAL) if enlarged is None else max(enlarged + 0.004 * breath[1], LOWER_ENLARGED)
    right = 0.32 + 0.025 * own[4]
    return Chest(
        width=width,
        apex=float(-0.80 + 0.03 * own[5] + 0.015 * breath[2]),
        domes=(float(np.clip(top, 0.18, 0.5)), float(np.clip(top + tilt, 0.2, 0.58))),
        angles=(float(0.20 + 0.03 * np.clip(own[6], -2, 2)), float(0.20 + 0.03 * np.clip(own[7], -2, 2))),
        heart=(float(2 * width * ratio * right), float(2 * width * ratio * (1 - right))),
        knob=float(0.035 + 0.008 * own[8] + 0.0006 * (person.age - 50)),
        shoulder=float(0.93 + 0.05 * own[9]),
        thickness=float(0.66 + 0.035 * np.clip(own[12], -2, 2)),
        breast=float(woman * (0.10 + 0.03 * np.clip(own[10], -2, 2))),
        bone=float(1.0 + 0.1 * own[11] - 0.004 * (person.age - 50)),
        person=person,
    )


def lung_extent(frame: Frame, chest: Chest) -> Field:
    """(2, side, side / 2) extent of the lungs: dome-shaped apex, rib cage outside, diaphragm below; 0 to 1."""
    return np.stack([lung_shape(frame, chest, index, 0.0, 0.0) for index in (0, 1)])


def lung_shape(frame: Frame, chest: Chest, index: int, inset: float | Field, fallen: float) -> Field:
    """(side, side / 2) extent of one lung, its outer edge moved in by `inset` and its apex down by `fallen`; 0 to 1."""
    soft, down, across = frame.softness, frame.down, frame.across
    middle, inner = 0.34, 0.10
    apex, widest, outer = chest.apex + fallen, 0.25, chest.width - inset
    rise = np.clip((widest - down) / (widest - apex), 0, 1)
    lateral = middle + (outer - middle) * np.sqrt(1 - rise**2.4)
    shoulder = np.clip((-0.45 - down) / (-0.45 - apex), 0, 1)
    medial = middle - (middle - inner) * np.sqrt(1 - shoulder**2)
    below = ramp(diaphragm(frame, chest, index) - down, soft)
    return ramp(lateral - across, soft) * ramp(across - medial, soft) * below * (down > apex)


def diaphragm(frame: Frame, chest: Chest, index: int) -> Field:
    """(1, side / 2) height of one side's diaphragm."""
    peak = 0.36
    outside = np.clip((frame.across - peak) / (chest.width - peak), 0, 1.2)
    inside = np.clip((peak - frame.across) / peak, 0, 1)
    return np.asarray(chest.domes[index] + chest.angles[index] * outside**2.3 + 0.09 * inside**2, np.float32)


def silhouette(frame: Frame, chest: Chest) -> Field:
    """(2, side, side / 2) extent of mediastinum and heart, from their outlines row by row; 0 to 1."""
    (right, left), knob = chest.heart, chest.knob
    # The heart hangs from the great vessels and rests on the diaphragm, so its lower half moves with the domes.
    rest = chest.domes[0]
    rows_right = [-1.2, -0.85, -0.5, -0.28, -0.1, rest - 0.28, rest - 0.08, rest + 0.1, rest + 0.25, 1.2]
    outline_right = [0.07, 0.08, 0.125, 0.12, 0.14, right * 0.97, right, right * 0.8, 0.1, 0.1]
    rows_left = [-1.2, -0.85, -0.55, -0.45, -0.33, -0.2, -0.05, rest - 0.25, rest - 0.02, rest + 0.12, rest + 0.28, 1.2]
    outline_left = [0.07, 0.08, 0.12 + knob, 0.13 + knob, 0.13, 0.165, 0.2, left * 0.86, left, left * 0.88, 0.1, 0.1]
    rows = frame.down[:, 0]
    pair = np.stack([np.interp(rows, rows_right, outline_right), np.interp(rows, rows_left, outline_left)])
    reach = max(3, int(0.2 * frame.unit) | 1)
    smooth = cv2.GaussianBlur(pair.T.astype(np.float32), (1, reach), 0, borderType=cv2.BORDER_REPLICATE).T
    return ramp(smooth[:, :, None] - frame.across, 1.5 * frame.softness)
