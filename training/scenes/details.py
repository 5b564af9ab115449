"""Collars, plackets, pockets, pleats and prints: the details that tell garments apart. Called by `garment`."""

import numpy as np
from PIL import Image, ImageDraw

from training.scenes.outlines import Cut, Points, Rng

Colour = tuple[int, ...]
Corner = tuple[float, float]


class Pen:
    """Draws on the garment's picture in garment units; alpha cuts off lines that leave the cloth."""

    def __init__(self, rng: Rng, image: Image.Image, low: Points, scale: float, margin: int) -> None:
        self.rng, self.image = rng, image
        self._low, self._scale, self._margin = low, scale, margin

    def pixels(self, points: Points) -> list[Corner]:
        """Garment units to pixels of the picture."""
        moved = (np.asarray(points) - self._low) * self._scale + self._margin
        return [(float(x), float(y)) for x, y in moved]

    def line(self, points: list[Corner], strength: float = 0.6, width: float = 0.014) -> None:
        """A seam or an edge: the cloth below, darkened (or lit, above 1) by `strength`."""
        self.stroke(self.pixels(np.asarray(points, np.float32)), strength, width)

    def stroke(self, corners: list[Corner], strength: float, width: float) -> None:
        """The same in pixels."""
        shape = Image.new("L", self.image.size)
        ImageDraw.Draw(shape).line(corners, fill=255, width=max(1, round(width * self._scale)), joint="curve")
        tone = (0, 0, 0) if strength < 1 else (255, 255, 255)
        self.image.paste(tone, (0, 0), shape.point(lambda value: int(value * min(1.0, abs(1 - strength)))))

    def patch(self, points: Points, colour: Colour) -> None:
        """An area in one colour: a sole, a print, the inside of a neck."""
        ImageDraw.Draw(self.image).polygon(self.pixels(points), fill=colour)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A button or an eyelet."""
        (left, top), (right, bottom) = self.pixels(np.asarray([(x - radius, y - radius), (x + radius, y + radius)]))
        ImageDraw.Draw(self.image).ellipse((left, top, right, bottom), fill=colour, outline=(40, 40, 40))

    def colour(self) -> Colour:
        """A loud or a plain colour for prints and buttons."""
        return tuple(int(value) for value in self.rng.integers(10, 250, 3))


def top(pen: Pen, cut: Cut, style: str) -> None:
    """Neck ribbing, and by style a placket with collar, a hood, a V, or a chest print."""
    _neck(pen, cut)
    _hem(pen, cut)
    middle = cut.neck_depth
    if style == "shirt":
        _placket(pen, cut, buttons=True)
        _collar(pen, cut, 0.17)
    elif style == "hood":
        ring = [(-cut.half_neck, 0.0), (-cut.half_neck * 1.3, 0.16), (0, middle + 0.16), (cut.half_neck * 1.3, 0.16)]
        pen.line([*ring, (cut.half_neck, 0.0)], 0.5, 0.03)
        pocket = [(-0.2, cut.length * 0.88), (-0.16, cut.length * 0.66), (0.16, cut.length * 0.66)]
        pen.line([*pocket, (0.2, cut.length * 0.88)], 0.6)
    elif style == "v":
        pen.line([(-cut.half_neck, 0.02), (0, middle + 0.2), (cut.half_neck, 0.02)], 0.5, 0.025)
    elif pen.rng.random() < 0.45:
        _print(pen, middle + pen.rng.uniform(0.25, 0.4))


def dress(pen: Pen, cut: Cut) -> None:
    """A waist seam or belt, and pleats that open towards the hem."""
    rng = pen.rng
    _neck(pen, cut)
    waist = rng.uniform(0.6, 0.85)
    if rng.random() < 0.7:
        pen.line([(-0.7, waist), (0, waist + 0.03), (0.7, waist)], rng.uniform(0.3, 0.7), rng.uniform(0.012, 0.06))
    _pleats(pen, waist, 0.25, cut)
    _hem(pen, cut)


def coat(pen: Pen, cut: Cut) -> None:
    """An opening down the front with buttons or a zip, lapels or a collar, pockets, sometimes quilting."""
    rng = pen.rng
    if rng.random() < 0.3:
        for y in np.arange(0.2, cut.length, rng.uniform(0.1, 0.18)):
            pen.line([(-1.6, y), (0, y + 0.02), (1.6, y)], 0.6, 0.016)
    _placket(pen, cut, buttons=rng.random() < 0.6)
    if rng.random() < 0.6:
        depth = rng.uniform(0.3, 0.6)
        for side in (-1, 1):
            pen.line([(side * cut.half_neck, 0), (side * 0.26, depth * 0.55), (0, depth)], 0.35, 0.025)
            pen.line([(side * 0.26, depth * 0.55), (side * 0.16, depth * 0.5)], 0.45)
    _collar(pen, cut, rng.uniform(0.15, 0.25))
    y = cut.length * rng.uniform(0.6, 0.72)
    for side in (-1, 1):
        pen.line([(side * 0.16, y), (side * 0.36, y + rng.uniform(-0.02, 0.08))], 0.4, 0.03)
    _hem(pen, cut)


def waistband(pen: Pen, cut: Cut, pockets: bool) -> None:
    """A waistband, a fly and slanted pockets; creases down the legs."""
    rng = pen.rng
    band = rng.uniform(0.06, 0.12)
    pen.line([(-0.6, band), (0.6, band)], 0.5)
    if rng.random() < 0.35:
        pen.line([(-0.03, band), (-0.08, band + 0.25)], 1.6, 0.02)
        pen.line([(0.03, band), (0.06, band + 0.22)], 1.6, 0.02)
    else:
        pen.line([(0, band), (0.0, 0.42)], 0.5)
        pen.dot(0, band / 2, 0.022, pen.colour())
    if pockets:
        for side in (-1, 1):
            pen.line([(side * cut.half_neck * 0.6, band), (side * cut.half_neck * 1.15, band + 0.22)], 0.5)
    inner, outer = 0.12, cut.half_hem * 0.75
    for side in (-1, 1):
        pen.line([(side * 0.2, 0.6), (side * (inner + outer) / 2, cut.length)], rng.uniform(0.75, 1.15), 0.02)
        pen.line([(0, cut.length - 0.05), (side * 1.2, cut.length - 0.05)], 0.6)


def skirt(pen: Pen, cut: Cut) -> None:
    """A waistband and pleats, or a slit for the narrow ones."""
    pen.line([(-0.7, 0.08), (0.7, 0.08)], 0.5, pen.rng.uniform(0.012, 0.03))
    if cut.half_hem - cut.half_neck > 0.1:
        _pleats(pen, 0.08, cut.half_neck, cut)
    elif pen.rng.random() < 0.5:
        pen.line([(0.1, cut.length), (0.1, cut.length * 0.75)], 0.35)
    _hem(pen, cut)


def shoe(pen: Pen, pieces: list[Points]) -> None:
    """Laces or a strap across each shoe."""
    rng = pen.rng
    laces = rng.random() < 0.6
    for piece in pieces:
        low, high = piece.min(axis=0), piece.max(axis=0)
        wide, tall = high - low
        for step in np.linspace(0.35, 0.6, 4 if laces else 1):
            if tall > wide:
                y = low[1] + tall * (step - 0.1)
                pen.line([(low[0] + wide * 0.3, y), (low[0] + wide * 0.7, y)], 1.7, 0.025)
            else:
                x, y = low[0] + wide * step, low[1] + tall * (0.05 + step * 0.5)
                pen.line([(x, y), (x - 0.06, y + 0.1)], 1.7, 0.025)


def hat(pen: Pen, cut: Cut) -> None:
    """Panel seams of a cap, ribs of a beanie, now and then a badge."""
    rng = pen.rng
    ribs = rng.random() < 0.5
    for x in np.linspace(-0.36, 0.36, 9) if ribs else (-0.22, 0.0, 0.22):
        pen.line([(x * 0.55, 0), (x, 0.25), (x * 1.1, 0.6)], 0.75 if ribs else 0.6)
    if rng.random() < 0.4:
        pen.dot(0, 0.3, rng.uniform(0.05, 0.1), pen.colour())


def _neck(pen: Pen, cut: Cut) -> None:
    half, depth = cut.half_neck, cut.neck_depth
    curve = [(-half, 0.0), (-half * 0.75, depth * 0.7), (0, depth), (half * 0.75, depth * 0.7), (half, 0.0)]
    pen.line([(x * 1.12, y + 0.035) for x, y in curve], 0.55, 0.02)


def _hem(pen: Pen, cut: Cut) -> None:
    pen.line([(-1.4, cut.length - 0.05), (0, cut.length - 0.03), (1.4, cut.length - 0.05)], 0.65)


def _placket(pen: Pen, cut: Cut, buttons: bool) -> None:
    pen.line([(0, cut.neck_depth), (0, cut.length + 0.05)], 0.35, 0.02)
    if buttons:
        colour = pen.colour()
        for y in np.linspace(cut.neck_depth + 0.12, cut.length - 0.15, int(pen.rng.integers(4, 8))):
            pen.dot(0.05, float(y), 0.022, colour)


def _collar(pen: Pen, cut: Cut, size: float) -> None:
    for side in (-1, 1):
        tip = (side * size * 1.1, cut.neck_depth + size)
        pen.line([(side * cut.half_neck, 0.0), tip, (0, cut.neck_depth)], 0.4, 0.02)


def _pleats(pen: Pen, start: float, half_start: float, cut: Cut) -> None:
    count = int(pen.rng.integers(3, 10))
    tone = pen.rng.uniform(0.65, 0.9)
    for share in np.linspace(-0.9, 0.9, count):
        pen.line([(share * half_start, start), (share * cut.half_hem, cut.length)], tone, 0.02)


def _print(pen: Pen, y: float) -> None:
    rng, colour = pen.rng, pen.colour()
    kind = int(rng.integers(3))
    if kind == 0:  # a badge
        angles = np.linspace(0, 2 * np.pi, int(rng.integers(3, 14)), endpoint=False)
        pen.patch(np.stack([0.17 * np.cos(angles), y + 0.17 * np.sin(angles)], axis=1), colour)
    elif kind == 1:  # lines of a slogan
        for row in range(int(rng.integers(1, 4))):
            half, top_ = rng.uniform(0.1, 0.24), y + 0.1 * row
            pen.patch(np.asarray([(-half, top_), (half, top_), (half, top_ + 0.05), (-half, top_ + 0.05)]), colour)
    else:  # a framed picture
        half = rng.uniform(0.12, 0.22)
        pen.patch(np.asarray([(-half, y - half), (half, y - half), (half, y + half), (-half, y + half)]), colour)
        pen.dot(0, y, half * 0.6, pen.colour())
