"""Smooth random fields and resampling: the arithmetic that every drawn biometric shares."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.float32]


def smooth_field(rng: np.random.Generator, height: int, width: int, grain: float) -> Image:
    """Return a random field of zero mean and unit deviation whose blobs are about ``grain`` pixels in radius."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    rows = np.fft.fftfreq(height).astype(np.float32)[:, None]
    columns = np.fft.rfftfreq(width).astype(np.float32)[None, :]
    spectrum *= np.exp(-2.0 * np.float32((np.pi * grain) ** 2) * (rows**2 + columns**2))
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(height, width)).astype(np.float32)
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def sample(image: Image, rows: Image, columns: Image) -> Image:
    """Return ``image`` read at fractional positions (bilinear); beyond an edge it is mirrored."""
    height, width = image.shape
    rows, columns = _mirrored(rows, height - 1.001), _mirrored(columns, width - 1.001)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down, right = rows - top, columns - left
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def grid(height: int, width: int) -> tuple[Image, Image]:
    """Return the row and the column number of each pixel."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def to_grey(image: Image) -> NDArray[np.uint8]:
    """Return an image of 0..1 as 8-bit grey."""
    return np.asarray(np.clip(image * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def _mirrored(positions: Image, last: float) -> Image:
    return np.asarray(np.clip(last - np.abs(last - np.abs(positions)), 0, last), dtype=np.float32)
