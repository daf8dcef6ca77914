"""Backgrounds without people: views of panoramas, in random exposure, blur and lettering."""

from pathlib import Path

import cv2
import numpy as np

from p3m_jax.errors import UserError

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
_LETTERS = np.array(list("ABCDEFGHIJKLMNOPRSTUVWXYZabcdehiklmnorstuz0123456789&.-"))


def read_panoramas(folder: Path) -> list[np.ndarray]:
    """The panoramas (*.hdr) of a folder and its subfolders: linear float32 (H, 2 H, 3) RGB."""
    files = sorted(folder.rglob("*.hdr"))
    if not files:
        raise UserError(f"{folder}: contains no panoramas (*.hdr).")
    panoramas = []
    for file in files:
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3:
            raise UserError(f"{file}: cannot be read as a panorama. Copy the file again.")
        panoramas.append(np.ascontiguousarray(pixels[..., ::-1], np.float32))
    return panoramas


def background(panoramas: list[np.ndarray], size: tuple[int, int], rng) -> np.ndarray:
    """Draws a background, uint8 (H, W, 3), of `size` (H, W)."""
    panorama = panoramas[rng.integers(len(panoramas))]
    picture = _exposed(_view(panorama, size, rng), rng)
    if rng.random() < 0.35:
        _letter(picture, rng)
    sigma = rng.choice([0.0, rng.uniform(0.5, 3), rng.uniform(3, 9)])
    if sigma:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    grain = rng.normal(0, rng.uniform(0, 4), size)[..., None]
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _view(panorama: np.ndarray, size: tuple[int, int], rng) -> np.ndarray:
    """What a camera at the panorama's centre sees: a random direction and field of view."""
    height, width = size
    focal = width / (2 * np.tan(np.radians(rng.uniform(35, 85)) / 2))
    yaw, pitch = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-20, 25))
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    z = np.full_like(x, focal)
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    longitude = (np.arctan2(x, z) + yaw) / (2 * np.pi) % 1
    latitude = np.arctan2(y, np.hypot(x, z)) / np.pi + 0.5
    rows, columns = panorama.shape[:2]
    where = (longitude * columns).astype(np.float32), (latitude * rows).astype(np.float32)
    return cv2.remap(panorama, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _exposed(linear: np.ndarray, rng) -> np.ndarray:
    """Maps linear light to uint8: the middle grey, contrast and tint are drawn."""
    grey = np.exp(np.log(linear.mean(axis=2) + 1e-3).mean())
    gain = rng.uniform(0.12, 0.5) / grey * rng.uniform(0.88, 1.12, 3)
    bright = linear * gain.astype(np.float32)
    toned = np.clip(1.15 * bright / (0.7 + bright), 0, 1) ** (1 / 2.2)
    return np.rint(255 * toned).astype(np.uint8)


def _letter(picture: np.ndarray, rng) -> None:
    """Writes lines of random letters, like signs and posters, into a picture."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(1, 5)):
        text = "".join(rng.choice(_LETTERS, rng.integers(2, 10)))
        scale = rng.uniform(0.8, 6)
        place = int(rng.uniform(-0.1, 0.7) * width), int(rng.uniform(0.1, 1) * height)
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        thick = max(1, int(scale * rng.uniform(1, 5)))
        cv2.putText(
            *(picture, text, place, int(rng.choice(_FONTS)), scale, colour, thick, cv2.LINE_AA)
        )
