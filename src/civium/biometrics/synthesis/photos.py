"""Drawn photos: a face and a picture of two raised hands. They test plumbing; no matcher could learn from them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SCALE = 2  # drawn larger, then reduced: smooth edges
_SKINS = ((244, 208, 177), (224, 172, 125), (187, 128, 87), (141, 91, 60), (96, 62, 45))
_HAIRS = ((32, 26, 24), (62, 43, 32), (104, 70, 44), (150, 118, 76), (120, 120, 122))
_CLOTHES = ((58, 82, 120), (120, 62, 66), (70, 104, 84), (96, 92, 110))
_BACKGROUND = (226, 230, 234)


def draw_face(rng: np.random.Generator) -> Image.Image:
    """Return a drawn head and shoulders, 240 by 320."""
    skin, hair, cloth = _pick(rng, _SKINS), _pick(rng, _HAIRS), _pick(rng, _CLOTHES)
    dark = _shade(skin, 0.82)
    canvas, draw = _canvas(240, 320)
    half, tall = rng.uniform(58, 66), rng.uniform(78, 86)
    middle = 142.0
    _oval(draw, 120, 338, 108, 82, cloth)
    draw.rounded_rectangle(_box(120, 238, 27, 42), radius=30, fill=dark)
    _oval(draw, 120, middle - 22, half + 12, tall + 2, hair)
    for side in (-1, 1):
        _oval(draw, 120 + side * half, middle + 6, 9, 17, dark)
    _oval(draw, 120, middle, half, tall, skin)
    draw.chord(_box(120, middle - 26, half + 2, tall - 18), 186, 354, fill=hair)
    gap = rng.uniform(24, 28)
    for side in (-1, 1):
        centre = 120 + side * gap
        _oval(draw, centre, middle, 12, 6.5, (250, 250, 248))
        _oval(draw, centre, middle, 5.6, 5.8, _shade(hair, 0.9))
        _oval(draw, centre, middle, 2.6, 2.6, (12, 12, 12))
        draw.arc(_box(centre, middle - 8, 15, 9), 200, 340, fill=hair, width=4 * _SCALE)
    draw.arc(_box(120, middle + 18, 9, 16), 20, 160, fill=_shade(skin, 0.7), width=2 * _SCALE)
    _oval(draw, 120, middle + 46, rng.uniform(17, 23), 5.5, (176, 92, 88))
    draw.line(_points((99, middle + 46), (141, middle + 46)), fill=(120, 56, 56), width=_SCALE)
    return _finish(canvas)


def draw_hands(rng: np.random.Generator) -> Image.Image:
    """Return two drawn hands, palms forward, 400 by 300: what an exception photo shows."""
    skin = _pick(rng, _SKINS)
    canvas, draw = _canvas(400, 300)
    for centre, side in ((115, 1), (285, -1)):
        draw.rounded_rectangle(_box(centre, 262, 30, 60), radius=40, fill=_shade(skin, 0.9))
        for offset, reach in ((-39, 82), (-13, 104), (13, 98), (39, 70)):
            tip = (centre + side * offset * 1.3, 186 - reach)
            draw.line(_points((centre + side * offset, 190), tip), fill=skin, width=23 * _SCALE)
            _oval(draw, *tip, 11.5, 11.5, skin)
        thumb = (centre + side * 92, 150)
        draw.line(_points((centre + side * 34, 214), thumb), fill=skin, width=25 * _SCALE)
        _oval(draw, *thumb, 12.5, 12.5, skin)
        draw.rounded_rectangle(_box(centre, 196, 51, 50), radius=60, fill=skin)
        draw.arc(_box(centre + side * 8, 210, 40, 42), 190, 280, fill=_shade(skin, 0.8), width=2 * _SCALE)
    return _finish(canvas)


Colour = tuple[int, int, int]


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(part * factor) for part in colour)
    return red, green, blue


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("RGB", (width * _SCALE, height * _SCALE), _BACKGROUND)
    return canvas, ImageDraw.Draw(canvas)


def _box(x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
    return (
        (x - half_width) * _SCALE, (y - half_height) * _SCALE, (x + half_width) * _SCALE, (y + half_height) * _SCALE,
    )  # fmt: skip


def _points(*points: tuple[float, float]) -> list[tuple[float, float]]:
    return [(x * _SCALE, y * _SCALE) for x, y in points]


def _oval(draw: ImageDraw.ImageDraw, x: float, y: float, half_width: float, half_height: float, fill: Colour) -> None:
    draw.ellipse(_box(x, y, half_width, half_height), fill=fill)


def _finish(canvas: Image.Image) -> Image.Image:
    size = (canvas.width // _SCALE, canvas.height // _SCALE)
    return canvas.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.8))
