"""Helpers for tests of pasting one face at image level."""

import cv2
import numpy as np

from p3m_jax.copy_paste.geometry import PastingDraws
from p3m_jax.copy_paste.image import FaceCrop, Target, paste_face
from p3m_jax.input import host_tensorflow, masks

tf = host_tensorflow()
STILL = PastingDraws(tf.constant(True), tf.constant(0.0), tf.ones(2), tf.constant(False))


def turned(degrees=0.0, scale=(1.0, 1.0), flip=False):
    radians = tf.constant(np.radians(degrees), tf.float32)
    return PastingDraws(
        tf.constant(True), radians, tf.constant(scale, tf.float32), tf.constant(flip)
    )


def blob(size, seed, *, threshold=0.2):
    """Returns a random mask, bool (H, W), with one connected part away from the edges."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(size), (0, 0), 5)
    noise[:3], noise[-3:], noise[:, :3], noise[:, -3:] = -1, -1, -1, -1
    _, parts = cv2.connectedComponents((noise / noise.std() > threshold).astype(np.uint8))
    return parts == 1 + np.bincount(parts[parts > 0]).argmax() - 1


def paste(picture, mask, target_mask, draws, variant="augment", target=None):
    """Pastes a face into a picture, grey unless `target` is given; returns the result."""
    if target is None:
        target = np.full((*target_mask.shape, 3), 99, np.uint8)
    sample = {"picture": tf.constant(target), "foreground": tf.constant(target)}
    face = FaceCrop(tf.constant(picture), tf.constant(mask))
    done = paste_face(sample, face, target_of(target_mask), draws, variant)
    np.testing.assert_array_equal(done["picture"], done["foreground"])
    return done["picture"].numpy()


def target_of(mask):
    """Returns a `Target` whose whole face is inside the picture."""
    mask = tf.constant(mask)
    return Target(mask, masks.box(mask))


def box(mask):
    left_top, sides = (value.numpy() for value in masks.box(tf.constant(mask)))
    return left_top, sides
