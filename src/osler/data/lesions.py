"""The phantom's findings: each changes a film the way the illness would, and says where.

A finder takes the film, the difficulty (0 obvious, 1 hardly above noise and anatomy), the patient's random numbers for this
finding (place and shape) and the image's (how much of it today). It returns its extent on the canvas, (2, side, side / 2),
where more than one half is inside the mask. Findings that may lie anywhere in the lung can also be drawn to a given area.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.data.anatomy import Field, lung_shape, ramp
from osler.data.radiograph import Film, grow

__all__ = ["FINDERS", "SIZED", "enlarged_ratio"]

Finder = Callable[[Film, float, np.random.Generator, np.random.Generator], Field]
SizedFinder = Callable[[Film, float, np.random.Generator, np.random.Generator, float], Field]

CENTIMETRE = 1 / 18
"""In units of length: the picture is 2 units or 36 cm a side."""


def enlarged_ratio(difficulty: float, patient: np.random.Generator) -> float:
    """Cardiothoracic ratio of a heart with cardiomegaly: always above one half, by less where it is to be subtle."""
    return 0.503 + 0.092 * (1 - difficulty) + (0.03 - 0.02 * difficulty) * float(patient.random())


def _strength(difficulty: float) -> float:
    """How much of its contrast a finding keeps; a little is left even at difficulty 1, or its label would not be true."""
    return 1 - 0.87 * difficulty


def _cardiomegaly(film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator) -> Field:
    """The heart was drawn large with the chest; its extent is what is left to say."""
    below = ramp(film.frame.down + 0.12, 0.02)
    return film.heart * below * (1 - film.belly)


def _effusion(film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator) -> Field:
    """Fluid that fills a costophrenic angle and climbs the chest wall: the meniscus."""
    frame, chest = film.frame, film.chest
    side = int(patient.integers(2))
    amount = patient.uniform(0.25, 1.0) * image.uniform(0.85, 1.15)
    height = 0.08 + amount * (0.10 + 0.42 * (1 - difficulty))
    floor = chest.domes[side] + chest.angles[side]
    outward = np.clip((frame.across - 0.15) / (chest.width - 0.15), 0, 1)
    surface = floor - 0.7 * height - (0.3 * height + 0.05) * outward**4
    fluid = ramp(frame.down - surface, 1.5 * frame.softness + 0.03 * difficulty) * film.lung[side]
    opaque = np.float32(0.08 + 0.88 * _strength(difficulty))
    film.air[side] *= 1 - opaque * fluid
    film.added[side] += np.float32(0.10) * opaque * fluid * (1 - film.heart[side])
    return _on_side(film, side, fluid)


def _consolidation(
    film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator, area: float | None = None
) -> Field:
    """Airspaces filled with fluid: a fluffy cloud that swallows the vessels and ends at the lung's border."""
    frame = film.frame
    size = patient.uniform(0.17, 0.27) * image.uniform(0.9, 1.1)
    blur = 0.018
    if area is not None:
        size = _radius_of(area)
        blur = min(blur, 0.1 * size)
    side, row, column = _spot(film, 0.5 * size, patient)
    stretch = patient.uniform(0.8, 1.3)
    squared = ((frame.across - column) / size) ** 2 + ((frame.down - row) / (size * stretch)) ** 2
    cloud = grow(film.lung.shape[1:], (8, 17, 34), patient)
    if area is not None:
        squared = squared / np.float32(_reach(squared / np.maximum(1 + np.float32(0.28) * cloud, 0.1), film, side, area))
    weight = ramp(1.0 - squared + np.float32(0.28) * cloud, 0.55) * (squared < 2.2)
    weight = cv2.GaussianBlur(weight.astype(np.float32), (0, 0), blur * frame.unit) * film.lung[side]
    film.air[side] *= 1 - np.float32(0.75 * _strength(difficulty)) * weight
    return _on_side(film, side, weight)


def _pneumothorax(film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator) -> Field:
    """Air between lung and chest wall: a dark band without vessels, and the fine line of the visceral pleura."""
    frame, chest = film.frame, film.chest
    side = int(patient.integers(2))
    size = patient.uniform(0.06, 0.14) * image.uniform(0.9, 1.1) + 0.06 * (1 - difficulty)
    inset = size * np.clip(1.0 - 0.9 * (frame.down - chest.apex - 0.3), 0.25, 1.0)
    lung = film.lung[side]
    collapsed = lung_shape(frame, chest, side, inset, 1.4 * size)
    share = np.clip(collapsed / np.maximum(lung, 1e-3), 0, 1)
    band = lung * (1 - share)
    strength = np.float32(_strength(difficulty))
    film.vessels[side] *= 1 - min(1.0, 1.4 * strength) * band
    film.air[side] += strength * (np.float32(0.16) * band - np.float32(0.06) * collapsed) * film.air[side]
    film.added[side] += np.float32(0.60) * strength * share * (1 - share) * lung
    return _on_side(film, side, band)


def _mass(
    film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator, area: float | None = None
) -> Field:
    """A lobulated opacity of more than 3 cm."""
    radius = patient.uniform(1.7, 3.2) * CENTIMETRE * image.uniform(0.95, 1.05)
    return _ball(film, radius, 0.09, 0.36 * _strength(difficulty), patient, area)


def _nodule(
    film: Film, difficulty: float, patient: np.random.Generator, image: np.random.Generator, area: float | None = None
) -> Field:
    """A round opacity of less than 3 cm."""
    radius = patient.uniform(0.8, 1.4) * CENTIMETRE * image.uniform(0.95, 1.05)
    return _ball(film, radius, 0.05, 0.44 * _strength(difficulty), patient, area)


FINDERS: dict[str, Finder] = {
    "cardiomegaly": _cardiomegaly,
    "effusion": _effusion,
    "consolidation": _consolidation,
    "pneumothorax": _pneumothorax,
    "mass": _mass,
    "nodule": _nodule,
}
"""In the order they are drawn: what lies in the lung looks for air that fluid has left."""
SIZED: dict[str, SizedFinder] = {"consolidation": _consolidation, "mass": _mass, "nodule": _nodule}
"""Those that also take an area, as a share of the picture; the extent of the others follows from the anatomy."""


def _radius_of(area: float) -> float:
    """Radius in units of a disc that is this share of the picture, which is 2 units a side."""
    return float(np.sqrt(4 * area / np.pi))


def _reach(distance: NDArray[np.float32], film: Film, side: int, area: float) -> float:
    """The distance within which an area, as a share of the picture, of one lung lies; the whole lung where it is smaller."""
    inside = np.sort(distance[film.lung[side] > 0.5])
    wanted = min(max(1, round(area * film.frame.size**2)), len(inside) - 1)
    # Half-way to the next pixel, so that even a single one lies well inside.
    return float((inside[wanted - 1] + inside[wanted]) / 2)


def _ball(
    film: Film, radius: float, lobes: float, contrast: float, patient: np.random.Generator, area: float | None = None
) -> Field:
    """Adds a ball, dented by `lobes` of its radius; the ray's way through it decides its attenuation.

    With an area it takes just this of the lung it lies in, growing along the border where it meets it.
    """
    frame = film.frame
    radius = radius if area is None else _radius_of(area)
    side, row, column = _spot(film, radius, patient)
    across, down = frame.across - column, frame.down - row
    angle = np.arctan2(down, across)
    edge = np.full_like(angle, radius)
    for waves in (2, 3, 4):
        edge += np.float32(lobes * radius * patient.uniform(0.2, 1.0)) * np.cos(waves * angle + patient.uniform(0, 2 * np.pi))
    distance = np.hypot(across, down)
    lung = np.ones_like(distance)
    if area is not None:
        edge *= np.float32(_reach(distance / edge, film, side, area))
        lung = (film.lung[side] > 0.5).astype(np.float32)
    through = np.sqrt(np.clip(1 - (distance / edge) ** 2, 0, 1))
    film.added[side] += np.float32(contrast) * through * film.lung[side]
    # A ball smaller than the grid still reaches half-way into the pixel it lies in.
    return _on_side(film, side, ramp(edge - distance, frame.softness) * lung)


def _spot(film: Film, clearance: float, patient: np.random.Generator) -> tuple[int, float, float]:
    """Side, row and column, in units, of a place in aerated lung; about the same place on every film of a patient."""
    frame = film.frame
    side, first, second = int(patient.integers(2)), patient.random(), patient.random()
    level = film.chest.domes[side] - 0.03
    aerated = ((film.air[side] > 0.8) & (film.air[side] < 1.01) & (frame.down < level)).astype(np.uint8)
    reach = 2 * max(1, round(clearance * frame.unit)) + 1
    inside = cv2.erode(aerated, np.ones((reach, reach), np.uint8))
    # What is full of fluid has no such place; the lung itself always has.
    allowed = next(found for found in (inside, aerated, film.lung[side] > 0.5) if found.any())
    below = np.cumsum(allowed.sum(1, dtype=np.int64))
    row = int(np.searchsorted(below, first * below[-1], side="right"))
    columns = np.flatnonzero(allowed[row])
    column = columns[int(second * len(columns))]
    return side, float(frame.down[row, 0]), float(frame.across[0, column])


def _on_side(film: Film, side: int, extent: NDArray[np.float32]) -> Field:
    """An extent of one side as one of both."""
    both = np.zeros_like(film.lung)
    both[side] = extent
    return both
