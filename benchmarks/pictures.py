"""JPEG files that are like photographs to a decoder: large smooth parts, edges and some noise."""

import pathlib

import numpy as np
import PIL.Image

SMALL = (500, 375)
LARGE = (4000, 3000)
# Files of a set that differ; further ones are links to them. Large ones take a second each to make.
DISTINCT = {SMALL: 200, LARGE: 8}


def write_pictures(folder: pathlib.Path, size: tuple[int, int], count: int) -> pathlib.Path:
    """Writes ``count`` files of a size (width, height)."""
    folder.mkdir(parents=True)
    made = min(count, DISTINCT[size])
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if number < made:
            PIL.Image.fromarray(picture(size, number)).save(path, quality=85)
        else:
            path.hardlink_to(folder / f"{number % made:05d}.jpg")
    return folder


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """A sum of random colours at three scales, a few rectangles, and noise of the sensor."""
    random = np.random.default_rng(seed)
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 60), (20, 30), (90, 12)):
        field = random.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        channels = [PIL.Image.fromarray(field[..., n]).resize(size, PIL.Image.Resampling.BICUBIC) for n in range(3)]
        total += np.stack([np.asarray(channel) for channel in channels], axis=2)
    for _ in range(12):
        left, top = random.integers(width), random.integers(height)
        total[top : top + height // 4, left : left + width // 5] += random.normal(0, 40, 3).astype(np.float32)
    total += random.normal(0, 3, (height, width, 1)).astype(np.float32)
    return np.clip(total + 120, 0, 255).astype(np.uint8)
