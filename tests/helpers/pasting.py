"""Makes small random batches for the tests of P3M-FCP."""

import numpy as np

ENTRIES = ("facemask", "paste", "paste_matrix", "source", "source_mask")


def ellipse(size, centre, radii):
    """Draws a filled ellipse, uint8 {0, 255} (size, size, 1); centre and radii (x, y) in pixels."""
    y, x = np.mgrid[:size, :size] + 0.5
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    return np.uint8(255) * inside[..., None].astype(np.uint8)


def about(target, source, *, degrees=0.0, scale=(1.0, 1.0), flip=False):
    """Returns the matrix (2, 3) that maps the point `target` to the point `source`, both (x, y).

    Pasting scales the source, flips it horizontally if `flip`, and turns it clockwise by `degrees`.
    """
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.linalg.inv(turn @ np.diag([-1.0 if flip else 1.0, 1.0]) @ np.diag(scale))
    return np.concatenate(
        [linear, (np.array(source) - linear @ np.array(target))[:, None]], axis=1
    ).astype(np.float32)


def entries(seed, *, batch=2, size=64, sources=1, source_size=64):
    """Returns the `ENTRIES` of a batch; every example gets a face pasted."""
    rng = np.random.default_rng(seed)
    masks, matrices = [], []
    for _ in range(batch):
        centre = rng.uniform(0.35, 0.65, 2) * size
        radii = rng.uniform(0.18, 0.25, 2) * size
        masks.append(ellipse(size, centre, radii))
        scale = 3 * radii / source_size * rng.uniform(0.8, 1.2, 2)
        middle = (source_size / 2, source_size / 2)
        degrees, flip = rng.uniform(-30, 30), rng.random() < 0.5
        matrices.append(about(centre, middle, degrees=degrees, scale=scale, flip=flip))
    middle = (source_size / 2, source_size / 2)
    mask = ellipse(source_size, middle, (source_size / 3, source_size / 3))
    return {
        "facemask": np.stack(masks),
        "paste": np.ones(batch, bool),
        "paste_matrix": np.stack(matrices),
        "source": rng.integers(0, 256, (sources, source_size, source_size, 3), np.uint8),
        "source_mask": np.stack([mask] * sources),
    }


def batch_of(seed, *, batch=2, size=64, **options):
    """Returns a complete batch for the training step."""
    rng = np.random.default_rng(seed + 1000)
    pictures = {
        name: rng.integers(0, 256, (batch, size, size, 3), np.uint8)
        for name in ("picture", "foreground", "background")
    }
    return {
        **pictures,
        "matte": rng.integers(0, 256, (batch, size, size, 1), np.uint8),
        "trimap": rng.choice(np.uint8([0, 128, 255]), (batch, size, size, 1)),
        **entries(seed, batch=batch, size=size, **options),
    }
