"""Synthetic fingerprints: a zero-pole orientation field, ridges grown by oriented filters, impressions of them.

Every pattern comes from a random number generator. No person's finger is described.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from civium.biometrics.synthesis.fields import Image, grid, sample, smooth_field, to_grey

HEIGHT, WIDTH = 400, 320
"""Pixels at 500 per inch: 20 by 16 mm."""

RIDGE_PERIOD = 9.0
_DIRECTIONS = 16
_ROUNDS = 6
_BANDWIDTH = 0.022  # cycles per pixel, standard deviation of each filter around its centre frequency
_GAIN = 2.5


def grow(rng: np.random.Generator) -> Image:
    """Return the ridge pattern of a finger, ``+1`` on a ridge and ``-1`` in a valley.

    Costs ``_ROUNDS`` times ``_DIRECTIONS`` inverse transforms: about 0.1 s.
    """
    directions = _orientation(rng)
    weights = [_direction_weight(directions, index) for index in range(_DIRECTIONS)]
    ridges = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    for _ in range(_ROUNDS):
        spectrum = np.fft.rfft2(ridges)
        grown = np.zeros_like(ridges)
        for weight, transfer in zip(weights, _filters(), strict=True):
            grown += weight * np.fft.irfft2(spectrum * transfer, s=(HEIGHT, WIDTH))
        ridges = np.tanh(grown * (_GAIN / grown.std()))
    return _spread(rng, ridges)


def press(rng: np.random.Generator, pattern: Image) -> NDArray[np.uint8]:
    """Return one impression of a finger: turned, moved, stretched as skin is, pressed unevenly, with sensor noise."""
    rows, columns = grid(HEIGHT, WIDTH)
    angle = np.radians(rng.uniform(-8, 8))
    y = rows - HEIGHT / 2 - rng.uniform(-10, 10)
    x = columns - WIDTH / 2 - rng.uniform(-10, 10)
    turned_y = HEIGHT / 2 + np.cos(angle) * y - np.sin(angle) * x
    turned_x = WIDTH / 2 + np.sin(angle) * y + np.cos(angle) * x
    stretch = 2.2
    turned_y += stretch * smooth_field(rng, HEIGHT, WIDTH, 28)
    turned_x += stretch * smooth_field(rng, HEIGHT, WIDTH, 28)
    ridges = sample(pattern, turned_y, turned_x)
    pressure = rng.uniform(-0.1, 0.15) + 0.12 * smooth_field(rng, HEIGHT, WIDTH, 10)
    pores = 0.2 * smooth_field(rng, HEIGHT, WIDTH, 0.7)
    ink = 1 / (1 + np.exp(-4.0 * (ridges + pressure + pores)))
    ink *= _contact(rng, rows, columns)
    grain = rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    return to_grey(np.asarray(0.94 - 0.78 * ink + 0.006 * grain, dtype=np.float32))


def _orientation(rng: np.random.Generator) -> Image:
    """Return the ridge direction at each pixel in 0..pi, y upwards (loops 60 %, whorls 30 %, arches 10 %)."""
    rows, columns = grid(HEIGHT, WIDTH)
    point = (columns - WIDTH / 2 + 1j * (HEIGHT / 2 - rows)) / WIDTH
    wobble = 0.2 * smooth_field(rng, HEIGHT, WIDTH, 36)
    kind = rng.choice(["left loop", "right loop", "whorl", "arch"], p=[0.3, 0.3, 0.3, 0.1])
    jitter = rng.uniform(-0.1, 0.1, size=8)
    top = complex(jitter[0], 0.12 + jitter[1])
    if kind == "arch":
        bump = rng.uniform(0.9, 1.3) * np.exp(-(((point.imag + 0.1) / 0.45) ** 2))
        slope = -bump * (point.real / 0.16) * np.exp(-((point.real / 0.3) ** 2))
        return np.asarray(np.mod(np.arctan(slope) + wobble, np.pi), dtype=np.float32)
    left, right = complex(-0.36 + jitter[2], -0.36 + jitter[3]), complex(0.36 + jitter[4], -0.36 + jitter[5])
    if kind == "whorl":
        zeros, poles = [top, top - complex(jitter[6], rng.uniform(0.1, 0.22))], [left, right]
    else:
        zeros, poles = [top], [right if kind == "left loop" else left]
    turns = sum(np.angle(point - zero) for zero in zeros) - sum(np.angle(point - pole) for pole in poles)
    return np.asarray(np.mod(turns / 2 + wobble, np.pi), dtype=np.float32)


def _direction_weight(directions: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Return how much the filter of one direction counts at each pixel (linear between neighbours)."""
    distance = np.abs(
        np.mod(directions * (_DIRECTIONS / np.pi) - index + _DIRECTIONS / 2, _DIRECTIONS) - _DIRECTIONS / 2
    )
    return np.asarray(np.maximum(0, 1 - distance), dtype=np.float32)


@cache
def _filters() -> list[NDArray[np.float32]]:
    """Return the filter of each direction (4 MB in all, kept: every finger uses them)."""
    return [_oriented_filter(np.pi * index / _DIRECTIONS) for index in range(_DIRECTIONS)]


def _oriented_filter(direction: float) -> NDArray[np.float32]:
    """Return the transfer function of a Gabor filter that keeps ridges running along ``direction``."""
    rows = -np.fft.fftfreq(HEIGHT)[:, None]  # y upwards
    columns = np.fft.rfftfreq(WIDTH)[None, :]
    centre_x, centre_y = -np.sin(direction) / RIDGE_PERIOD, np.cos(direction) / RIDGE_PERIOD
    width = 2 * _BANDWIDTH**2
    towards = np.exp(-((columns - centre_x) ** 2 + (rows - centre_y) ** 2) / width)
    away = np.exp(-((columns + centre_x) ** 2 + (rows + centre_y) ** 2) / width)
    return np.asarray(towards + away, dtype=np.float32)


def _spread(rng: np.random.Generator, pattern: Image) -> Image:
    """Return the pattern with its own ridge distance: wider on some fingers, uneven across each."""
    rows, columns = grid(HEIGHT, WIDTH)
    scale = rng.uniform(0.86, 1.14)
    y = HEIGHT / 2 + (rows - HEIGHT / 2) * scale + 9 * smooth_field(rng, HEIGHT, WIDTH, 36)
    x = WIDTH / 2 + (columns - WIDTH / 2) * scale + 9 * smooth_field(rng, HEIGHT, WIDTH, 36)
    return sample(pattern, y, x)


def _contact(rng: np.random.Generator, rows: Image, columns: Image) -> Image:
    """Return where the skin touches the glass: a soft ellipse with an uneven rim."""
    y = (rows - HEIGHT / 2 - rng.uniform(-5, 5)) / (HEIGHT * rng.uniform(0.44, 0.47))
    x = (columns - WIDTH / 2 - rng.uniform(-5, 5)) / (WIDTH * rng.uniform(0.43, 0.47))
    reach = y**2 + x**2 + 0.05 * smooth_field(rng, HEIGHT, WIDTH, 6)
    return np.asarray(1 / (1 + np.exp(24 * (reach - 1))), dtype=np.float32)
