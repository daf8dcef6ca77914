"""Hair of the synthetic portraits: thousands of strands, thinner than a pixel at their ends.

All curves are (N, K, 2) in head heights from the centre of the face: the crown is at y = -0.5, the
chin at y = +0.5. Strands are combed over the skull from a parting and fall from the temples.
"""

from dataclasses import dataclass

import numpy as np

from p3m_jax.data.synthetic.drawing import Frame, Sheet, ellipse

STYLES = ("short", "combed", "bob", "long", "curly", "afro", "bun", "bald")
_POINTS = 16  # per strand
_TEMPLE = 1.65  # radians from the top: where the side of the skull becomes vertical
_SKULL = (0.0, -0.07)  # centre
_WIDER = 1.07  # width of the skull in widths of the face


@dataclass(frozen=True)
class Hair:
    """The properties of one person's hair; lengths are in head heights.

    Attributes:
      style: one of `STYLES`.
      color: RGB in 0..255.
      skull: horizontal and vertical radius of the skull.
      parting: angle of the parting, radians from the top.
      length: length below the temples.
      wave: amplitude of the strands' waves.
      wild: how far stray strands stick out.
      fringe: whether hair covers the forehead.
      strands: number of strands.
    """

    style: str
    color: np.ndarray
    skull: tuple[float, float]
    parting: float
    length: float
    wave: float
    wild: float
    fringe: bool
    strands: int


def sample_hair(rng: np.random.Generator, half_width: float, strands: int) -> Hair:
    """Samples random hair with `strands` strands.

    `half_width` is half the width of the face in head heights.
    """
    style = str(rng.choice(STYLES, p=[0.18, 0.14, 0.14, 0.2, 0.1, 0.1, 0.1, 0.04]))
    colors = np.array(
        [[28, 22, 20], [48, 32, 24], [86, 56, 36], [130, 88, 50], [196, 158, 98], [150, 66, 34],
         [165, 162, 158], [150, 60, 120]]
    )  # fmt: skip
    color = rng.choice(colors, p=[0.22, 0.2, 0.18, 0.12, 0.11, 0.07, 0.06, 0.04])
    lengths = {"bob": (0.25, 0.5), "long": (0.7, 1.5)}.get(style, (0.0, 0.0))
    return Hair(
        style=style,
        color=color * rng.uniform(0.85, 1.15),
        skull=(half_width * _WIDER, 0.47),
        parting=rng.uniform(-0.5, 0.5),
        length=rng.uniform(*lengths),
        wave=float(rng.choice([0.006, 0.015, 0.035])),
        wild=rng.uniform(0.025, 0.08),
        fringe=style in ("short", "bob", "long") and rng.random() < 0.4,
        strands=strands,
    )


def draw_back_hair(rng: np.random.Generator, hair: Hair, frame: Frame, sheet: Sheet) -> None:
    """Draws the hair that is visible behind neck and head."""
    rx, ry = hair.skull
    if hair.style in ("bob", "long"):
        bottom = _SKULL[1] + hair.length
        sides = [(rx * 0.98, bottom - 0.15), (-rx * 0.98, bottom - 0.15)]
        outline = np.concatenate(
            [ellipse(_SKULL, (rx * 1.04, ry * 1.04), -_TEMPLE, _TEMPLE), sides]
        )
        body = _combed(rng, hair, hair.strands, hair.length, (0.95, 1.2), (1.0, 1.1))
        _draw(rng, hair, frame, sheet, outline, body)
    elif hair.style in ("curly", "afro"):
        wide = 1.5 if hair.style == "afro" else 1.22
        outline = ellipse(_SKULL, (rx * wide * 0.9, ry * wide * 0.88))
        curls = _curls(rng, hair, hair.strands, (0.8, wide), (-2.5, 2.5))
        _draw(rng, hair, frame, sheet, outline, curls)
    elif hair.style == "bun":
        center = np.array([0.12 * np.sin(hair.parting), -0.62])
        outline = ellipse(center, (0.15, 0.13))
        _draw(rng, hair, frame, sheet, outline, _rings(rng, center, hair.strands // 4))


def draw_front_hair(rng: np.random.Generator, hair: Hair, frame: Frame, sheet: Sheet) -> None:
    """Draws the hair on forehead and skull and in front of the shoulders, seen from the front."""
    rx, ry = hair.skull
    if hair.style == "bald":
        return
    high = 0.56 + 0.12 * rng.random()
    outer = ellipse(_SKULL, (rx * 1.01, ry * 1.02), -_TEMPLE, _TEMPLE)
    inner = ellipse(_SKULL, (rx * 0.97, ry * high), _TEMPLE, -_TEMPLE)
    cap = np.concatenate([outer, inner])
    if hair.style in ("curly", "afro"):
        wide = 1.4 if hair.style == "afro" else 1.15
        curls = _curls(rng, hair, hair.strands, (0.9, wide), (-1.5, 1.5), (high + 0.05) / 0.9)
        _draw(rng, hair, frame, sheet, cap, curls)
        return
    count = hair.strands
    if hair.style == "short":
        curves = _tufts(rng, hair, count, high)
    else:
        fall = hair.length * rng.uniform(0.5, 0.9) if hair.length else 0.06
        curves = _combed(rng, hair, count, fall, (0.97, 1.08), (high, 1.06))
    if hair.fringe:
        curves = np.concatenate([curves, _fringe(rng, hair, count // 3)])
    _draw(rng, hair, frame, sheet, cap, curves)


def draw_hair_from_behind(rng: np.random.Generator, hair: Hair, frame: Frame, sheet: Sheet) -> None:
    """Draws the hair on the back of the head; long hair falls over the person's back."""
    rx, ry = hair.skull
    if hair.style in ("curly", "afro"):
        wide = 1.45 if hair.style == "afro" else 1.2
        outline = ellipse(_SKULL, (rx * wide * 0.9, ry * wide * 0.9))
        curls = _curls(rng, hair, 2 * hair.strands, (0.0, wide), (-np.pi, np.pi))
        _draw(rng, hair, frame, sheet, outline, curls)
        return
    if hair.style == "bald":
        return
    bottom = max(0.36, _SKULL[1] + hair.length)
    sides = [(rx * 0.9, bottom - 0.15), (rx * 0.6, bottom), (-rx * 0.6, bottom)]
    arc = ellipse(_SKULL, (rx * 1.01, ry * 1.02), -_TEMPLE, _TEMPLE)
    outline = np.concatenate([arc, sides, [(-rx * 0.9, bottom - 0.15)]])
    # Falls from the crown: first sideways along the skull, then down.
    count = 2 * hair.strands
    t = np.linspace(0, 1, _POINTS)[None]
    reach = rng.uniform(-1.08, 1.08, (count, 1)) * (1 + rng.normal(0.02, 0.09, (count, 1)) * t)
    end = rng.normal(bottom + 0.03, 0.06, (count, 1))
    top = _SKULL[1] - ry * rng.uniform(0.7, 1.05, (count, 1))
    y = top + (end - top) * t
    turn = np.clip((y - top) / (_SKULL[1] - top), 0, 1)
    x = rx * reach * np.sqrt(1 - (1 - turn) ** 2) + _waves(rng, hair, count, t)
    _draw(rng, hair, frame, sheet, outline, np.stack([x, y], -1))
    if hair.style == "bun":
        center = np.array([0.0, -0.3])
        _draw(rng, hair, frame, sheet, ellipse(center, (0.17, 0.15)), _rings(rng, center, 300))


def draw_beard(rng: np.random.Generator, hair: Hair, frame: Frame, sheet: Sheet) -> None:
    """Draws a beard along the jaw, with a ragged lower edge."""
    half_width = hair.skull[0] / _WIDER
    angles = np.linspace(np.pi * 0.58, np.pi * 1.42, 40)
    outer = ellipse((0, 0), (half_width * 0.97, 0.53), angles[0], angles[-1], 40)
    inner = ellipse((0, 0.2), (half_width * 0.7, 0.14), angles[-1], angles[0], 40)
    count = hair.strands // 2
    t = np.linspace(0, 1, _POINTS)[None]
    angle = rng.uniform(angles[0], angles[-1], (count, 1))
    depth = rng.uniform(0.75, 1.0, (count, 1))
    start_x, start_y = half_width * depth * np.sin(angle), -0.52 * depth * np.cos(angle)
    length = rng.uniform(0.03, 0.12, (count, 1))
    x = start_x + 0.4 * length * t * np.sin(angle) + 0.2 * _waves(rng, hair, count, t)
    curves = np.stack([x, start_y + length * t], -1)
    _draw(rng, hair, frame, sheet, np.concatenate([outer, inner]), curves)


def _combed(
    rng: np.random.Generator,
    hair: Hair,
    count: int,
    fall: float,
    wide: tuple[float, float],
    high: tuple[float, float],
) -> np.ndarray:
    """Returns strands from the parting along the skull to the temples, then down by `fall`.

    `wide` and `high` are the ranges of the strands' distance from the skull's centre in x and y, in
    radii of the skull. If `high` is small, all strands meet at the temples, like a real hairline.
    """
    rx, ry = hair.skull
    side = np.where(rng.random((count, 1)) < 0.5 + 0.2 * hair.parting, -1.0, 1.0)
    start = hair.parting + side * np.abs(rng.normal(0, 0.5, (count, 1)))
    along = (side * _TEMPLE - start) * side  # radians to the temple
    length = np.maximum(along, 0.2) + fall / rx * rng.normal(0.9, 0.12, (count, 1))
    travel = length * np.linspace(0, 1, _POINTS)[None]
    angle = start + side * travel
    below = np.maximum(np.abs(angle) - _TEMPLE, 0) * rx  # head heights below the temple
    angle = np.clip(angle, -_TEMPLE, _TEMPLE)
    radius = rng.uniform(0, 1, (count, 1))
    out_x = wide[0] + (wide[1] - wide[0]) * radius
    out_y = high[0] + (high[1] - high[0]) * rng.uniform(0, 1, (count, 1))
    flare = rng.uniform(0.0, 0.15) + rng.normal(0, 0.1, (count, 1))
    x = _SKULL[0] + rx * out_x * np.sin(angle) + side * below * flare
    y = _SKULL[1] - ry * out_y * np.cos(angle) + below
    x = x + _waves(rng, hair, count, travel / 3) * np.minimum(1, 3 * below + 0.15)
    return np.stack([x, y], -1)


def _tufts(rng: np.random.Generator, hair: Hair, count: int, high: float) -> np.ndarray:
    """Returns short hair that sticks out from the skull and leans away from the parting."""
    rx, ry = hair.skull
    t = np.linspace(0, 1, _POINTS)[None]
    angle = rng.uniform(-_TEMPLE, _TEMPLE, (count, 1))
    root = rng.uniform(high, 1.0, (count, 1))
    length = rng.uniform(0.05, 0.16, (count, 1)) * (0.35 + np.cos(angle / 1.3) ** 2)
    lean = np.sign(angle - hair.parting) * rng.uniform(0.2, 1.3, (count, 1))
    direction = angle + lean * t
    outward = np.stack([np.sin(direction), -np.cos(direction)], -1)
    start = np.stack([rx * np.sin(angle), _SKULL[1] - ry * root * np.cos(angle)], -1)
    return start + outward * (length * t)[..., None]


def _curls(
    rng: np.random.Generator,
    hair: Hair,
    count: int,
    far: tuple[float, float],
    angles: tuple[float, float],
    high: float = 0.0,
) -> np.ndarray:
    """Returns small spirals, fewer towards the outside; `high` keeps them above the hairline."""
    rx, ry = hair.skull
    t = np.linspace(0, 1, _POINTS)[None]
    angle = rng.uniform(*angles, (count, 1))
    out = far[0] + (far[1] - far[0]) * np.sqrt(rng.random((count, 1)))
    out = out * (1 + 0.03 * rng.standard_normal((count, 1)))
    flat = np.where(high, rng.uniform(min(high, 0.95), 1.0, (count, 1)), 1.0)
    radius = rng.uniform(0.015, 0.045, (count, 1))
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + rng.choice([-1, 1], (count, 1)) * 5 * t
    drift = 0.05 * t
    x = rx * (out + drift) * np.sin(angle) + radius * np.cos(turn)
    y = _SKULL[1] - ry * (out + drift) * flat * np.cos(angle) + radius * np.sin(turn)
    return np.stack([x, y], -1)


def _fringe(rng: np.random.Generator, hair: Hair, count: int) -> np.ndarray:
    """Returns strands from the top of the forehead down to the brows."""
    t = np.linspace(0, 1, _POINTS)[None]
    across = rng.uniform(-0.85, 0.85, (count, 1)) * hair.skull[0]
    start = _SKULL[1] - hair.skull[1] * 0.9 * np.sqrt(1 - (across / hair.skull[0]) ** 2)
    end = rng.normal(-0.15, 0.03, (count, 1))
    x = across * (1 + 0.1 * t) + 0.15 * np.sin(hair.parting) * t**2
    return np.stack([x, start + (end - start) * t], -1)


def _rings(rng: np.random.Generator, center: np.ndarray, count: int) -> np.ndarray:
    """Returns strands wound around a bun."""
    t = np.linspace(0, 1, _POINTS)[None]
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + rng.uniform(1, 2.5, (count, 1)) * t
    radius = rng.uniform(0.4, 1.0, (count, 1)) + np.abs(rng.normal(0, 0.08, (count, 1))) * t
    ring = np.stack([0.16 * radius * np.sin(turn), -0.14 * radius * np.cos(turn)], -1)
    return center + ring


def _waves(rng: np.random.Generator, hair: Hair, count: int, along: np.ndarray) -> np.ndarray:
    phase = rng.normal(0, 0.7, (count, 1))
    return hair.wave * np.sin(12 * along + phase) + 0.3 * hair.wave * rng.normal(0, 1, (count, 1))


def _draw(
    rng: np.random.Generator,
    hair: Hair,
    frame: Frame,
    sheet: Sheet,
    outline: np.ndarray,
    curves: np.ndarray,
) -> None:
    """Draws faint stray strands, then the hair's body inside `outline`, then the other strands."""
    width = 0.0024 * frame.scale
    stray = curves[rng.random(len(curves)) < 0.25]
    t = np.linspace(0, 1, _POINTS)[None, :, None]
    away = stray - np.asarray(_SKULL)
    away = away / (np.linalg.norm(away, axis=-1, keepdims=True) + 1e-6)
    push = np.abs(rng.normal(0, hair.wild, (len(stray), 1, 1))) * t**2
    swing = rng.normal(0, 0.6 * hair.wild, (len(stray), 1, 2)) * t * np.sin(5 * t + 1)
    stray = stray + away * push + swing
    for group in np.array_split(frame(stray), 8):
        tone = hair.color * rng.uniform(0.8, 1.3)
        sheet.stroke(group, tone, width)
        sheet.stroke_cover(group, int(rng.integers(110, 255)), 0.7 * width)
    sheet.polygon(frame(outline), hair.color * 0.8)
    curves = rng.permutation(curves)
    for group in np.array_split(frame(curves), 14):
        sheet.stroke(group, hair.color * rng.uniform(0.6, 1.35), width)
        sheet.stroke_cover(group, 255, width)
