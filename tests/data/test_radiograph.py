"""From attenuation to film: placement, noise, exposure."""

from __future__ import annotations

import numpy as np

from osler.data.anatomy import Field, frame_of
from osler.data.radiograph import Pose, draw_pose, expose, grow, place

STILL = Pose(turn=0.0, shift=(0.0, 0.0), zoom=1.0, gain=1.0, offset=0.0, blur=0.4, noise=0.0)


def canvas(value: float, size: int = 64) -> Field:
    side = frame_of(size).side
    return np.full((side, side), value, np.float32)


def test_an_untouched_pose_shows_the_middle_of_the_canvas() -> None:
    frame = frame_of(64)
    field = np.arange(frame.side**2, dtype=np.float32).reshape(frame.side, frame.side)
    border = (frame.side - 64) // 2
    np.testing.assert_array_equal(place(field, frame, STILL), field[border:-border, border:-border])


def test_a_shift_moves_the_picture_to_the_right_and_down() -> None:
    frame = frame_of(64)
    field = canvas(0.0)
    field[frame.side // 2, frame.side // 2] = 1
    moved = Pose(**(vars(STILL) | {"shift": (10 / frame.unit, 4 / frame.unit)}))
    before, after = (np.unravel_index(place(field, frame, pose).argmax(), (64, 64)) for pose in (STILL, moved))
    assert (after[0] - before[0], after[1] - before[1]) == (4, 10)


def test_dense_tissue_is_bright_and_air_is_dark() -> None:
    frame = frame_of(64)
    levels = [
        expose(place(canvas(value), frame, STILL), frame, STILL, np.random.default_rng(0)).mean() for value in (0, 0.3, 0.8, 5)
    ]
    assert levels[0] == 0
    assert levels == sorted(levels)
    assert 60 < levels[1] < 90
    assert 250 < levels[3] <= 255


def test_noise_grows_where_few_photons_come_through() -> None:
    frame = frame_of(64)
    noisy = Pose(**(vars(STILL) | {"noise": 0.015}))
    spread = [expose(place(canvas(value), frame, noisy), frame, noisy, np.random.default_rng(1)).std() for value in (0.3, 0.7)]
    assert 3 < spread[0] < 5
    assert spread[1] > 1.2 * spread[0] * 0.9


def test_poses_stay_within_bounds_and_differ() -> None:
    poses = [draw_pose(np.random.default_rng(seed), 0.015) for seed in range(300)]
    assert max(abs(pose.turn) for pose in poses) <= 5
    assert max(max(map(abs, pose.shift)) for pose in poses) <= 0.05 + 1e-9
    assert 0.93 < min(pose.zoom for pose in poses) < max(pose.zoom for pose in poses) < 1.07
    assert len({pose.turn for pose in poses}) > 250


def test_clouds_have_the_asked_shape_and_a_mean_near_nought() -> None:
    cloud = grow((80, 40), (8, 17, 34), np.random.default_rng(2))
    assert cloud.shape == (80, 40)
    assert abs(cloud.mean()) < 0.4
    assert 0.6 < cloud.std() < 1.6
