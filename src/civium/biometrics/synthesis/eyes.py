"""Drawn eyes in near infrared: an iris of band-limited random texture, pupil, sclera, lids and lashes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civium.biometrics.synthesis.fields import Image, grid, sample, smooth_field, to_grey

HEIGHT, WIDTH = 304, 400
IRIS_RADIUS = 112
_RINGS, _SPOKES = 64, 720


@dataclass(frozen=True, slots=True)
class Iris:
    """The texture of one iris, unrolled: rings from the pupil outwards, spokes around."""

    texture: Image


def grow(rng: np.random.Generator) -> Iris:
    """Return an iris: fine fibres that run outwards, crypts between them, a collarette near the pupil."""
    fibres = smooth_field(rng, _RINGS * 4, _SPOKES, 2.2).reshape(_RINGS, 4, _SPOKES).mean(axis=1)
    crypts = smooth_field(rng, _RINGS, _SPOKES, 5.0)
    rings = np.arange(_RINGS, dtype=np.float32)[:, None] / _RINGS
    collarette = np.exp(-(((rings - 0.3) / 0.08) ** 2))
    texture = 0.07 * fibres / fibres.std() + 0.06 * crypts + 0.06 * collarette - 0.05 * rings
    return Iris(np.asarray(texture, dtype=np.float32))


def photograph(rng: np.random.Generator, iris: Iris) -> NDArray[np.uint8]:
    """Return one picture of the eye: the pupil dilated, the head turned a little, the lids somewhere."""
    rows, columns = grid(HEIGHT, WIDTH)
    y = rows - HEIGHT / 2 - rng.uniform(-6, 6)
    x = columns - WIDTH / 2 - rng.uniform(-6, 6)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + np.radians(rng.uniform(-4, 4))
    pupil = IRIS_RADIUS * rng.uniform(0.34, 0.44)
    ring = np.clip((radius - pupil) / (IRIS_RADIUS - pupil), 0, 1) * (_RINGS - 2)
    spoke = np.mod(angle, 2 * np.pi) * ((_SPOKES - 2) / (2 * np.pi))
    sclera = 0.72 - 0.0006 * np.abs(x) + 0.02 * smooth_field(rng, HEIGHT, WIDTH, 20)
    eye = _blend(sclera, 0.42 + sample(iris.texture, _f32(ring), _f32(spoke)), radius, IRIS_RADIUS, 2.5)
    eye = _blend(eye, np.full_like(eye, 0.06), radius, pupil, 1.2)
    glint = np.hypot(x - pupil * 0.35, y + pupil * 0.35)
    eye = _blend(eye, np.full_like(eye, 0.97), glint, 7.0, 1.0)
    eye = _lids(rng, eye, x, y)
    grain = 0.006 * rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    return to_grey(_f32(eye + grain))


def _blend(outside: Image, inside: Image, distance: Image, radius: float, softness: float) -> Image:
    share = 1 / (1 + np.exp(np.clip((distance - radius) / softness, -30, 30)))
    return _f32(outside * (1 - share) + inside * share)


def _lids(rng: np.random.Generator, eye: Image, x: Image, y: Image) -> Image:
    """Cover what lies above the upper and below the lower lid with skin; lashes hang from the upper one."""
    upper = -rng.uniform(88, 100) + (x / 19) ** 2
    lower = rng.uniform(98, 110) - (x / 21) ** 2
    skin = 0.6 + 0.02 * smooth_field(rng, HEIGHT, WIDTH, 4)
    shadow = 0.18 * np.exp(-np.clip(y - upper, 0, None) / 12)
    lidded = _blend(_f32(eye - shadow), skin, _f32(y - upper), 0, 1.5)
    lidded = _blend(lidded, skin, _f32(lower - y), 0, 1.5)
    for root in rng.uniform(-150, 150, size=60):
        lean = root / 260 + rng.uniform(-0.15, 0.15)
        hang = y - (-rng.uniform(88, 100) + (root / 19) ** 2)
        lash = np.exp(-(((x - root - lean * hang) / 0.9) ** 2)) * ((hang > 0) & (hang < rng.uniform(14, 26)))
        lidded = lidded * (1 - 0.7 * lash)
    return _f32(lidded)


def _f32(values: NDArray[np.floating]) -> Image:
    return np.asarray(values, dtype=np.float32)
