"""Pictures for tests, as files."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from server.reading.uploads import Picture, Upload


def noise(width: int = 96, height: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """RGB without any regularity: no two pixels are alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """An array as a file; lossless where the format can be."""
    return saved(Pillow.fromarray(pixels), kind, **options)


def saved(image: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    file = BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}) | options)
    return file.getvalue()


def with_alpha(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA."""
    return np.dstack([rgb, alpha])


def left_half_clear(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """An alpha whose left half is transparent."""
    alpha = np.full((height, width), 255, np.uint8)
    alpha[:, : width // 2] = 0
    return alpha


def mask_file(alpha: NDArray[np.uint8]) -> bytes:
    """A mask with this alpha, black where it is opaque."""
    return file_of(with_alpha(np.zeros((*alpha.shape, 3), np.uint8), alpha))


def opened(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a file, RGB."""
    return np.asarray(Pillow.open(BytesIO(data)).convert("RGB"))


def upload(data: bytes, param: str = "image", declared: str | None = "image/png") -> Upload:
    """A file as a form would have brought it."""
    return Upload(BytesIO(data), param, declared)


def picture(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None = None) -> Picture:
    """A decoded picture."""
    full = np.full(rgb.shape[:2], 255, np.uint8)
    return Picture(with_alpha(rgb, full if alpha is None else alpha), alpha is not None)
