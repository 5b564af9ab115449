"""The outlines of shoes and hats. Called by `scenes.garment`; same coordinates as `scenes.outlines`."""

import math

import numpy as np

from training.scenes.outlines import Cut, Points, Rng, smoothed


def shoes(rng: Rng) -> tuple[list[Points], list[Points]]:
    """Outlines of one shoe or a pair, and of the parts drawn on them in another colour (soles, openings)."""
    kind = str(rng.choice(["side", "above", "boot", "heel"], p=[0.35, 0.35, 0.15, 0.15]))
    body, part = {"side": _sneaker, "above": _from_above, "boot": _boot, "heel": _heel}[kind](rng)
    if rng.random() < 0.25:
        return [body], [part]
    return _paired(rng, kind, body, part)


def _paired(rng: Rng, kind: str, body: Points, part: Points) -> tuple[list[Points], list[Points]]:
    if kind == "above":
        gap = float(np.ptp(body[:, 0])) * rng.uniform(1.02, 1.25)
        offset, mirror = np.asarray([gap, rng.normal(0, 0.05)]), np.asarray([-1, 1])
    elif rng.random() < 0.5:
        offset, mirror = np.asarray([rng.uniform(-0.25, 0.25), rng.uniform(0.28, 0.5)]), np.asarray([1, 1])
    else:
        offset, mirror = np.asarray([rng.uniform(0.15, 0.45), rng.uniform(0.05, 0.25)]), np.asarray([1, 1])
    second, second_part = body * mirror + offset, part * mirror + offset
    return [body, second.astype(np.float32)], [part, second_part.astype(np.float32)]


def _outline(points: list[tuple[float, float]], rng: Rng) -> Points:
    corners = np.asarray(points, np.float32)
    return smoothed(corners + rng.normal(0, 0.012, corners.shape).astype(np.float32))


def _sneaker(rng: Rng) -> tuple[Points, Points]:
    top, tongue = rng.uniform(0.0, 0.1), rng.uniform(0.3, 0.42)
    body = [
        (0, top),
        (0.22, 0.1),
        (tongue, -0.04),
        (0.62, 0.2),
        (0.9, 0.27),
        (1, 0.36),
        (0.99, 0.45),
        (0.01, 0.45),
        (-0.02, 0.25),
    ]
    sole = [(-0.02, 0.38), (0.5, 0.39), (1.0, 0.37), (1.01, 0.46), (0.0, 0.46)]
    return _outline(body, rng), _outline(sole, rng)


def _from_above(rng: Rng) -> tuple[Points, Points]:
    width, lean = rng.uniform(0.16, 0.22), rng.uniform(0.0, 0.05)
    angles = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    taper = 1 - 0.22 * (np.sin(angles) > 0) * np.sin(angles)
    body = np.stack([width * taper * np.cos(angles) + lean * np.sin(angles), 0.5 * np.sin(angles)], axis=1)
    depth, shift = rng.uniform(0.16, 0.3), rng.uniform(0.1, 0.22)
    opening = np.stack([width * 0.62 * np.cos(angles), depth * np.sin(angles) + shift], axis=1)
    return smoothed(body.astype(np.float32), 1), smoothed(opening.astype(np.float32), 1)


def _boot(rng: Rng) -> tuple[Points, Points]:
    height, shaft = rng.uniform(0.4, 1.0), rng.uniform(0.38, 0.5)
    body = [
        (0, -height),
        (shaft, -height),
        (shaft, 0.05),
        (0.75, 0.2),
        (0.95, 0.32),
        (0.96, 0.46),
        (0, 0.46),
        (0.02, 0),
    ]
    sole = [(-0.01, 0.4), (0.97, 0.4), (0.97, 0.48), (0.35, 0.48), (0.33, 0.5), (0, 0.5)]
    return _outline(body, rng), _outline(sole, rng)


def _heel(rng: Rng) -> tuple[Points, Points]:
    rise = rng.uniform(0.15, 0.4)
    body = [
        (0, 0.1),
        (0.1, 0.02),
        (0.25, 0.22),
        (0.5, 0.26),
        (0.85, 0.16 + rise),
        (1.0, 0.25 + rise),
        (0.98, 0.3 + rise),
    ]
    body += [(0.7, 0.3 + rise), (0.35, 0.42), (0.14, 0.38), (0.1, 0.3 + rise), (0.03, 0.3 + rise), (0.0, 0.35)]
    sole = [(0.68, 0.27 + rise), (0.99, 0.28 + rise), (0.99, 0.31 + rise), (0.68, 0.31 + rise)]
    return _outline(body, rng), _outline(sole, rng)


def hat(rng: Rng) -> tuple[Cut, list[Points]]:
    """A cap, a beanie, a brimmed hat or a bucket hat: outlines, and the parts in another colour."""
    kind = str(rng.choice(["cap", "beanie", "brim", "bucket"]))
    pieces, parts = {"cap": _cap, "beanie": _beanie, "brim": _brim, "bucket": _bucket}[kind](rng)
    return Cut(pieces, 0.3, 0.1, 0.5, 0.8), parts


def _dome(rng: Rng, half: float, height: float, power: float) -> Points:
    angles = np.linspace(math.pi, 2 * math.pi, 14)
    x = half * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    y = height + height * np.sin(angles)
    return np.stack([x, y], axis=1).astype(np.float32)


def _cap(rng: Rng) -> tuple[list[Points], list[Points]]:
    height = rng.uniform(0.42, 0.6)
    crown = _dome(rng, 0.45, height, rng.uniform(0.7, 1.0))
    if rng.random() < 0.5:  # seen from the front: the visor below the crown
        drop = rng.uniform(0.14, 0.28)
        visor = [(-0.42, height - 0.04), (0, height - 0.12), (0.42, height - 0.04), (0.46, height + drop * 0.6)]
        visor += [(0, height + drop), (-0.46, height + drop * 0.6)]
    else:  # from the side: the visor sticks out
        reach = rng.uniform(0.25, 0.45)
        visor = [
            (0.2, height - 0.08),
            (0.45, height - 0.1),
            (0.45 + reach, height + 0.02),
            (0.42 + reach, height + 0.07),
        ]
        visor += [(0.1, height + 0.03)]
    outline = smoothed(np.asarray(visor, np.float32))
    return [crown, outline], [outline]


def _beanie(rng: Rng) -> tuple[list[Points], list[Points]]:
    height = rng.uniform(0.5, 0.85)
    crown = _dome(rng, 0.42, height, rng.uniform(0.75, 1.3))
    cuff = rng.uniform(0.12, 0.24)
    band = [
        (-0.44, height - cuff * 0.6),
        (0.44, height - cuff * 0.6),
        (0.45, height + cuff * 0.4),
        (-0.45, height + cuff * 0.4),
    ]
    outline = smoothed(np.asarray(band, np.float32), cut=0.1)
    pieces = [crown, outline]
    if rng.random() < 0.4:  # a pompom
        angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
        pieces.insert(0, (0.13 * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32))
    return pieces, [outline]


def _brim(rng: Rng) -> tuple[list[Points], list[Points]]:
    height, reach, thick = rng.uniform(0.38, 0.55), rng.uniform(0.62, 0.9), rng.uniform(0.07, 0.26)
    angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    brim = np.stack([reach * np.cos(angles), height + thick * np.sin(angles)], axis=1).astype(np.float32)
    crown = _dome(rng, 0.38, height, 0.6)
    crown[-1] += (0, 0.04)
    band = np.asarray([(-0.38, height - 0.13), (0.38, height - 0.13), (0.38, height), (-0.38, height)], np.float32)
    return [brim, crown], [band]


def _bucket(rng: Rng) -> tuple[list[Points], list[Points]]:
    height, drop, reach = rng.uniform(0.3, 0.42), rng.uniform(0.2, 0.32), rng.uniform(0.5, 0.64)
    crown = [(-0.34, 0), (0.34, 0), (0.4, height), (-0.4, height)]
    brim = [
        (-0.4, height - 0.03),
        (0.4, height - 0.03),
        (reach, height + drop),
        (0, height + drop + 0.05),
        (-reach, height + drop),
    ]
    outline = smoothed(np.asarray(brim, np.float32), cut=0.15)
    return [smoothed(np.asarray(crown, np.float32)), outline], [outline]
