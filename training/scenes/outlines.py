"""The outlines of upper and lower garments as half polygons, mirrored. Called by `training.scenes.garment`.

Coordinates: x from the garment's middle line, y downwards from its top; the unit is about one shoulder width.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Rng = np.random.Generator


class Cut(NamedTuple):
    """A garment's pieces (closed outlines, drawn in this order) and its main measures for the details."""

    pieces: list[Points]
    half_neck: float
    neck_depth: float
    half_hem: float
    length: float


def smoothed(points: Points, rounds: int = 2, cut: float = 0.18) -> Points:
    """Round a closed outline's corners by cutting them (Chaikin)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        near, far = points * (1 - cut) + following * cut, points * cut + following * (1 - cut)
        points = np.stack([near, far], axis=1).reshape(-1, 2)
    return points


def _piece(half: list[tuple[float, float]], rng: Rng, wobble: float = 0.012) -> Points:
    """A closed outline from its right half: mirrored, then every point moved a little, so no side equals the other."""
    right = np.asarray(half, np.float32)
    left = right[::-1] * np.asarray([-1, 1], np.float32)
    both = np.concatenate([right, left])
    return smoothed(both + rng.normal(0, wobble, both.shape).astype(np.float32), rounds=3)


def _sleeve(
    shoulder: tuple[float, float], armpit: tuple[float, float], length: float, cuff: float, spread: float, side: int
) -> Points:
    """One sleeve: from the shoulder line to a cuff of the given width, `spread` radians away from straight down."""
    along = np.asarray([math.sin(spread), math.cos(spread)])
    across = np.asarray([math.cos(spread), -math.sin(spread)])
    top, under = np.asarray(shoulder), np.asarray(armpit)
    end = (top + under) / 2 + along * length
    corners = np.asarray([top, end + across * cuff / 2, end - across * cuff / 2, under, (top + under) / 2 - [0.12, 0]])
    return smoothed((corners * [side, 1]).astype(np.float32), rounds=2, cut=0.1)


def _sleeves(rng: Rng, kind: str, shoulder: tuple[float, float], armpit: tuple[float, float]) -> list[Points]:
    if kind == "none":
        return []
    if kind == "short":
        length, cuff, spread = rng.uniform(0.16, 0.34), rng.uniform(0.24, 0.36), rng.uniform(0.6, 1.25)
    else:
        length, cuff, spread = rng.uniform(0.75, 1.1), rng.uniform(0.12, 0.2), rng.uniform(0.1, 0.75)
    # A third of long sleeves lies folded towards the body.
    spreads = [spread + rng.normal(0, 0.08), spread + rng.normal(0, 0.08)]
    if kind == "long" and rng.random() < 0.2:
        spreads[int(rng.integers(2))] *= -0.4
    return [_sleeve(shoulder, armpit, length, cuff, angle, side) for angle, side in zip(spreads, (1, -1), strict=True)]


def upper(rng: Rng, sleeves: str, length: float, half_hem: float, waist: float) -> Cut:
    """A top, dress or coat. `waist` is the half width at 45 % of the length, `half_hem` that at the bottom."""
    half_neck = rng.uniform(0.12, 0.22)
    neck_depth = rng.uniform(0.03, 0.28)
    half_shoulder = rng.uniform(0.38, 0.47) if sleeves != "none" else rng.uniform(0.26, 0.4)
    shoulder = (half_shoulder, rng.uniform(0.06, 0.12))
    armpit = (rng.uniform(0.36, 0.44), shoulder[1] + rng.uniform(0.26, 0.36))
    waist_y = min(length * 0.55, 0.85)
    body = _piece(
        [
            (0, neck_depth),
            (half_neck * 0.75, neck_depth * 0.7),
            (half_neck, 0),
            shoulder,
            (armpit[0] - 0.03, (armpit[1] + shoulder[1]) / 2),
            armpit,
            (waist, waist_y),
            (half_hem, length - 0.02),
            (half_hem * 0.5, length + rng.uniform(-0.01, 0.04)),
        ],
        rng,
    )
    return Cut([*_sleeves(rng, sleeves, shoulder, armpit), body], half_neck, neck_depth, half_hem, length)


def lower(rng: Rng, length: float) -> Cut:
    """Pants or shorts: two legs from a waistband."""
    half_waist, half_hip = rng.uniform(0.3, 0.38), rng.uniform(0.38, 0.47)
    rise = rng.uniform(0.42, 0.58)
    flare = rng.uniform(0.7, 1.0) if length < 1 else rng.uniform(0.4, 0.95)
    spread = rng.uniform(0.0, 0.2) * min(length, 1.6)
    inner = 0.02 + spread
    outer = inner + half_hip * flare
    half = [
        (0.0, rng.uniform(0, 0.03)),
        (half_waist, 0.0),
        (half_hip, rise * 0.7),
        ((half_hip + outer) / 2, (rise + length) / 2),
        (outer, length),
        (inner, length + rng.uniform(-0.03, 0.03)),
        (0.01, rise),
    ]
    return Cut([_piece(half, rng, 0.01)], half_waist, 0.08, outer, length)


def skirt(rng: Rng) -> Cut:
    """A skirt, from pencil to circle; the hem sags in the middle."""
    half_waist, length = rng.uniform(0.28, 0.38), rng.uniform(0.55, 1.35)
    half_hem = half_waist + rng.uniform(0.02, 0.5) * min(1.0, length)
    half = [
        (0.0, rng.uniform(0, 0.03)),
        (half_waist, 0.0),
        (half_waist + (half_hem - half_waist) * rng.uniform(0.35, 0.65), length * 0.45),
        (half_hem, length - rng.uniform(0, 0.08)),
        (half_hem * 0.5, length),
    ]
    return Cut([_piece(half, rng, 0.008)], half_waist, 0.08, half_hem, length)
