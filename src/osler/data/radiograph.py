"""From anatomy to film: the chest's attenuation, drawn tissue by tissue, and its exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from osler.data.anatomy import Chest, Field, Frame, diaphragm, lung_extent, ramp, silhouette

__all__ = ["Film", "Pose", "attenuation", "draw_film", "draw_pose", "expose", "grow", "place", "whole"]


@dataclass
class Film:
    """The attenuation of a chest while it is being drawn, in half-spaces (2, side, side / 2).

    Attributes:
        frame: the grid.
        chest: the anatomy.
        lung: extent of the lungs, 0 to 1; findings read it and leave it as it is.
        air: what part of the lungs' depth is air, 0 to 1; fluid takes from it.
        heart: extent of heart and great vessels, 0 to 1.
        belly: extent of what lies under the diaphragm, 0 to 1.
        vessels: attenuation of the lungs' vessels and texture.
        added: attenuation that findings add.
    """

    frame: Frame
    chest: Chest
    lung: Field
    air: Field
    heart: Field
    belly: Field
    vessels: Field
    added: Field


def grow(shape: tuple[int, int], cells: Sequence[int], rng: np.random.Generator) -> Field:
    """A cloudy texture of a half-space, of mean 0 and standard deviation near 1: grids of so many rows, enlarged and added."""
    total = np.zeros(shape, np.float32)
    for weight, count in zip(np.geomspace(1.0, 0.6, len(cells)), cells, strict=True):
        coarse = rng.standard_normal((count, max(2, count // 2)), np.float32)
        total += np.float32(weight) * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return total


def draw_film(frame: Frame, chest: Chest, patient: np.random.Generator) -> Film:
    """The chest before any finding is added."""
    lung = lung_extent(frame, chest)
    heart = silhouette(frame, chest)
    return Film(
        frame=frame,
        chest=chest,
        lung=lung,
        air=lung * (1 - np.float32(0.88) * heart),
        heart=heart,
        belly=_below_diaphragm(frame, chest),
        vessels=_vessels(frame, chest, patient) * lung,
        added=np.zeros_like(lung),
    )


def _vessels(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation of hilum, branching vessels and fine texture."""
    # The first dozen lines leave the right hilum of the patient, the second the left one, which lies higher.
    roots = np.repeat([(0.17, -0.08), (0.17, -0.12)], 12, 0) + rng.normal(0, (0.02, 0.05), (24, 2))
    lines = _branch(roots, np.tile(np.linspace(-1.4, 1.4, 12), 2), 0.55, rng)
    twigs = _offspring(lines, 4, 0.30, rng)
    tips = _offspring(twigs, 2, 0.15, rng)
    canvas = frame.blank()
    thick = frame.size / 128
    for group, width, value in ((tips, 0.5, 50), (twigs, 0.7, 80), (lines, 0.9, 100), (lines[:, :4], 1.7, 150)):
        pixels = frame.fixed_point(group)
        for side, half in enumerate(np.split(pixels, 2)):
            cv2.polylines(canvas[side], list(half), False, value, max(1, round(width * thick)), cv2.LINE_AA, 4)
    for half in canvas:
        cv2.GaussianBlur(half, (0, 0), 0.4 * max(1.0, thick), dst=half)
    texture = grow((2 * frame.side, frame.side // 2), (18, 44, 92), rng).reshape(canvas.shape)
    fade, hilum = _perihilar(frame)
    return canvas * fade + hilum + np.float32(0.006) * texture


@lru_cache(maxsize=8)
def _perihilar(frame: Frame) -> tuple[Field, Field]:
    """How vessels thin out from the hilum, per unit of the canvas they are drawn on; and the hilum's own density."""
    fade = np.exp(-np.hypot(frame.across - 0.15, frame.down + 0.05) / 0.5) * np.float32(0.24 / 150)
    hilum = np.exp(-(((frame.across - 0.19) / 0.09) ** 2) - ((frame.down + 0.04) / 0.16) ** 2) * np.float32(0.07)
    return fade, hilum


def _branch(
    start: NDArray[np.float64], angle: NDArray[np.float64], length: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(n, 9, 2) curved lines from (n, 2) starts in (n,) directions, 0 pointing outwards."""
    steps = np.linspace(0, 1, 9)
    turn = angle[:, None] + rng.normal(0, 0.12, (len(start), 1)) + rng.normal(0, 0.35, (len(start), 1)) * steps
    reach = length * rng.uniform(0.6, 1.1, (len(start), 1)) / 8
    moves = np.stack([np.cos(turn), np.sin(turn)], -1) * reach[..., None]
    return np.asarray(start[:, None] + np.cumsum(moves, 1) - moves[:, :1])


def _offspring(parents: NDArray[np.float64], each: int, length: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n · each, 9, 2) lines that leave their parents at a slant."""
    parents = np.repeat(parents, each, 0)
    at = rng.integers(1, 8, len(parents))
    rows = np.arange(len(parents))
    direction = parents[rows, at + 1] - parents[rows, at]
    side = np.where(rows % 2 == 0, 1, -1)
    angle = np.arctan2(direction[:, 1], direction[:, 0]) + side * rng.uniform(0.35, 0.9, len(parents))
    return _branch(parents[rows, at], angle, length, rng)


def _ribs(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation of the ribs: behind, sloping down and out; in front, down and in, fading to cartilage."""
    number = np.arange(9)
    jitter = rng.normal(0, 0.008, (2, 9))
    spacing = 0.148 + 0.006 * rng.normal()
    top = chest.apex + spacing * number + jitter
    drop = np.broadcast_to(0.07 + 0.032 * number + 0.025 * rng.normal(), (2, 9))
    height = np.clip((0.2 - top - drop) / (0.26 - chest.apex), 0, 1)
    outer = chest.width * np.sqrt(1 - height**2.6) + 0.012
    turn = np.linspace(0, np.pi / 2, 13)
    behind = _curve(
        0.07 + (outer - 0.07)[..., None] * np.sin(turn),
        top[..., None] - 0.035 * np.sin(2 * turn) + drop[..., None] * (1 - np.cos(turn)),
    )
    stop, fall = 0.16 + 0.012 * number, 0.20 + 0.018 * number
    in_front = _curve(
        stop[:, None] + (outer - stop)[..., None] * np.cos(turn),
        (top + drop)[..., None] + fall[:, None] * np.sin(turn) ** 1.3,
    )
    cartilage = np.clip((frame.across - 0.14) / 0.3, 0, 1)
    # The lowest two end in front below the diaphragm.
    front = _bands(frame, in_front[:, :7], 0.036) * cartilage
    bone: Field = np.float32(chest.bone / 255) * (np.float32(0.15) * _bands(frame, behind, 0.030) + np.float32(0.085) * front)
    return bone


def _curve(across: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2) positions."""
    return np.stack([across, down], -1)


def _bands(frame: Frame, curves: NDArray[np.float64], half: float) -> Field:
    """(2, side, side / 2) bands along (2, n, m, 2) curves, their rims brighter as a bone's cortex is; 0 to 255."""
    along = np.gradient(curves, axis=2)
    normal = along[..., ::-1] * (-1, 1) / (np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9)
    outline = np.concatenate([curves + half * normal, (curves - half * normal)[:, :, ::-1]], 2)
    pixels = frame.fixed_point(outline)
    canvas = frame.blank()
    rim = max(1, round(frame.size / 160))
    for side in (0, 1):
        for band in pixels[side]:
            cv2.fillPoly(canvas[side], [band], 120, cv2.LINE_AA, 4)
        cv2.polylines(canvas[side], list(pixels[side]), True, 200, rim, cv2.LINE_AA, 4)
        cv2.GaussianBlur(canvas[side], (0, 0), 0.7 * max(1.0, frame.size / 160), dst=canvas[side])
    return canvas.astype(np.float32)


def _girdle(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation of clavicles, shoulder blades and heads of the upper arms."""
    canvas = frame.blank()
    supine = chest.person.view == "AP"
    steps = np.linspace(0, 1, 15)
    lift = rng.normal(0, 0.02, 2) - 0.03 * supine
    clavicle = np.stack(
        [
            _curve(0.055 + 0.80 * steps, level + 0.045 * np.sin(2 * np.pi * steps))
            for level in chest.apex + 0.245 + lift[:, None] - (0.10 + 0.05 * supine) * steps
        ]
    )
    bright = _bands(frame, clavicle[:, None], 0.036)
    reach = 0.05 * supine
    corners = [(0.60, -0.62), (0.90, -0.66), (0.93, -0.45), (0.80, -0.10), (0.74, 0.02), (0.70, -0.02), (0.66, -0.30)]
    place = np.array([0.03 - reach + 0.02 * rng.normal(), 0.03 * rng.normal()])
    blade = np.array(corners) + place
    for half in canvas:
        cv2.fillPoly(half, [frame.fixed_point(blade)], 60, cv2.LINE_AA, 4)
        cv2.polylines(half, [frame.fixed_point(blade)], True, 105, max(1, round(frame.size / 90)), cv2.LINE_AA, 4)
        centre = frame.fixed_point(np.array([1.03, -0.60]))
        cv2.circle(half, centre.tolist(), int(0.13 * frame.unit * 16), 150, -1, cv2.LINE_AA, 4)
        cv2.GaussianBlur(half, (0, 0), 0.012 * frame.unit, dst=half)
    return (np.float32(0.20 / 255) * bright + np.float32(0.24 / 255) * canvas) * np.float32(chest.bone)


def _midline(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation of spine and, negative, of the air in the windpipe."""
    down, across = frame.down, frame.across
    bend = 0.012 * rng.normal() * np.sin(2.2 * down + rng.uniform(0, 6))
    away: Field = np.stack([np.abs(across + bend), np.abs(across - bend)]).astype(np.float32)
    half: Field = 0.072 + 0.018 * np.clip(down, -1, 1)
    phase = rng.uniform(0, 1)
    discs = np.cos(2 * np.pi * (down / 0.135 - 0.12 * down**2 + phase))
    spine = ramp(half - away, 0.02) * (0.11 + 0.025 * discs) + 0.03 * np.exp(-(((away - half) / 0.014) ** 2))
    spine += 0.03 * np.exp(-(((away - 0.04) / 0.012) ** 2)) * np.clip(-discs, 0, 1)
    carina, offset = -0.28, 0.012
    tube: Field = np.stack([np.abs(across - offset), np.abs(across + offset)])
    trachea = ramp(0.042 - tube, 0.016) * ramp(carina - down, 0.05)
    slope = np.stack([0.9 * across, 0.6 * across])
    bronchus = np.exp(-(((down - carina - slope) / 0.028) ** 2)) * ramp(0.2 - across, 0.05)
    return np.asarray(chest.bone * spine - 0.13 * trachea - 0.06 * bronchus, np.float32)


def _soft_tissue(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation of the body without its lungs: trunk, shoulders, neck, breasts, belly."""
    down, across = frame.down, frame.across
    rows = [-1.2, -0.98, -0.86, -0.72, -0.5, -0.2, 0.3, 1.2]
    wide = chest.shoulder
    edge = np.interp(down, rows, [0.24, 0.26, 0.50, wide + 0.12, wide + 0.16, wide + 0.02, wide, wide + 0.03]).astype(np.float32)
    inside = np.clip((edge - across) / 0.45, 0, 1)
    body = chest.thickness * np.sqrt(inside) * (1 + 0.05 * np.clip(down, 0, 1))
    muscle = 0.07 * np.exp(-(((across - 0.78) / 0.16) ** 2) - ((down + 0.35) / 0.3) ** 2)
    both = np.stack([body + muscle, body + muscle])
    if chest.breast > 0:
        for side in (0, 1):
            centre = (0.42 + 0.03 * rng.normal(), 0.20 + 0.05 * rng.normal())
            radius = ((across - centre[0]) / 0.36) ** 2 + ((down - centre[1]) / 0.30) ** 2
            both[side] += chest.breast * np.sqrt(np.clip(1 - radius, 0, 1)) * np.clip(0.6 + (down - centre[1]) / 0.5, 0.2, 1.3)
    return both.astype(np.float32)


def attenuation(film: Film, patient: np.random.Generator) -> Field:
    """(side, side) attenuation of everything in line, from about 0 in open air to about 1 in the belly."""
    frame, chest = film.frame, film.chest
    total = _soft_tissue(frame, chest, patient)
    flesh = np.minimum(total / np.float32(0.25), 1)
    depth = 0.30 + 0.14 * np.sqrt(np.clip((chest.width + 0.02 - frame.across) / 0.3, 0, 1))
    total -= film.air * depth
    total += film.vessels * film.air + film.added
    belly = film.belly
    total += np.float32(0.10) * film.heart + np.float32(0.14) * belly - _stomach_bubble(frame, chest, patient) * belly
    # Bone is of little contrast where most photons are lost already.
    total += _ribs(frame, chest, patient) * (1 - np.float32(0.65) * belly) + flesh * _girdle(frame, chest, patient)
    total += _midline(frame, chest, patient) * (1 - np.float32(0.45) * belly)
    return whole(total)


def whole(halves: Field) -> Field:
    """(side, side) canvas from its half-spaces (2, side, side / 2).

    >>> whole(np.array([[[1, 2]], [[3, 4]]], np.float32)).tolist()
    [[2.0, 1.0, 3.0, 4.0]]
    """
    return np.concatenate([halves[0][:, ::-1], halves[1]], axis=1)


def _below_diaphragm(frame: Frame, chest: Chest) -> Field:
    """(2, side, side / 2) extent of the belly, 0 to 1."""
    height = np.stack([diaphragm(frame, chest, side) for side in (0, 1)])
    return ramp(frame.down - height, 2 * frame.softness) * ramp(chest.width + 0.03 - frame.across, 0.05)


def _stomach_bubble(frame: Frame, chest: Chest, rng: np.random.Generator) -> Field:
    """(2, side, side / 2) attenuation that an air bubble under the left diaphragm takes away, in some patients."""
    bubble = np.zeros((2, frame.side, frame.side // 2), np.float32)
    centre = (rng.uniform(0.25, 0.45), chest.domes[1] + rng.uniform(0.10, 0.16))
    radius = ((frame.across - centre[0]) / rng.uniform(0.08, 0.16)) ** 2 + ((frame.down - centre[1]) / 0.055) ** 2
    depth = max(0.0, rng.uniform(-0.2, 0.25))
    bubble[1] = np.float32(depth) * ramp(1 - radius, 0.35)
    return bubble


@dataclass(frozen=True)
class Pose:
    """How a chest came onto the film, apart from what it holds.

    Attributes:
        turn: rotation in the plane, degrees.
        shift: of the picture's centre, in units of half its side.
        zoom: magnification.
        gain: contrast of the exposure.
        offset: its brightness.
        blur: standard deviation of the detector's blur in pixels of a picture of 128.
        noise: standard deviation of the quantum noise behind the lungs.
    """

    turn: float
    shift: tuple[float, float]
    zoom: float
    gain: float
    offset: float
    blur: float
    noise: float


def draw_pose(image: np.random.Generator, noise: float) -> Pose:
    """Draws positioning and exposure; nothing here knows of findings."""
    own = image.normal(size=6)
    return Pose(
        turn=float(np.clip(1.8 * own[0], -5, 5)),
        shift=(float(0.025 * np.clip(own[1], -2, 2)), float(0.025 * np.clip(own[2], -2, 2))),
        zoom=float(1.0 + 0.03 * np.clip(own[3], -2, 2)),
        gain=float(1.10 + 0.13 * np.clip(own[4], -2, 2)),
        offset=float(-0.03 + 0.04 * own[5]),
        blur=float(image.uniform(0.35, 0.6)),
        noise=float(noise * image.uniform(0.8, 1.25)),
    )


def place(field: Field, frame: Frame, pose: Pose) -> Field:
    """(size, size): the part of a (side, side) canvas that the picture shows, turned, shifted and magnified."""
    middle = (frame.side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), pose.turn, pose.zoom)
    target = (frame.size - 1) / 2
    matrix[0, 2] += pose.shift[0] * frame.unit + target - middle
    matrix[1, 2] += pose.shift[1] * frame.unit + target - middle
    shown = cv2.warpAffine(field, matrix, (frame.size, frame.size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shown, np.float32)


def expose(field: Field, frame: Frame, pose: Pose, image: np.random.Generator) -> NDArray[np.uint8]:
    """The picture: blurred, with noise that grows where few photons come through, on a film with a toe and a shoulder."""
    sharp = cv2.GaussianBlur(field, (0, 0), pose.blur * max(1.0, frame.size / 128))
    grain = image.standard_normal((frame.size, frame.size), np.float32)
    # The film shows log exposure, in which photon noise has a variance of 1 / photons; a unit of attenuation is 1.8 in log.
    grain *= np.exp(np.float32(0.9) * (sharp - np.float32(0.3))) * np.float32(pose.noise)
    value = np.maximum((sharp + grain) * np.float32(pose.gain) + np.float32(pose.offset), 0)
    return np.asarray(np.float32(255) * value / np.sqrt(np.sqrt(1 + value**4)), np.uint8)
