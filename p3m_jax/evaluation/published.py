"""Published scores on the two P3M-500 test sets, which reports show next to their own.

They are from the papers "Privacy-Preserving Portrait Matting" (2021) and "Rethinking Portrait
Matting with Privacy Preserving" (2023), and from a preprint of 2026. SAD and CONN are in thousands
of pixels.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One row of a published table.

    MSE is multiplied by 1000. A score is None if the paper does not report it.
    """

    method: str
    sad: float | None
    mse: float | None
    conn: float | None


PUBLISHED = {
    "P3M-500-P": (
        Published("LF", 42.95, 19.1, None),
        Published("HATT", 25.99, 5.4, 25.29),
        Published("SHM", 21.56, 10.0, 17.53),
        Published("P3M-Net without TFI, sBFI, dBFI", 15.13, 5.8, None),
        Published("MODNet", 13.31, 3.8, 10.88),
        Published("GFM", 13.20, 5.0, None),
        Published("P3M-Net (ResNet-34)", 8.73, 2.6, 13.88),
        Published("P3M-Net (ViTAE-S)", 6.24, 1.5, 5.86),
        Published("9-billion-parameter generative model, linear read-out (2026)", 5.69, 1.2, 5.42),
    ),
    "P3M-500-NP": (
        Published("HATT", 30.53, 7.2, 27.42),
        Published("SHM", 20.77, 9.3, 17.09),
        Published("MODNet", 16.70, 5.1, 13.81),
        Published("P3M-Net (ResNet-34)", 11.23, 3.5, 12.51),
        Published("P3M-Net (ViTAE-S)", 7.59, 1.9, 6.96),
        Published("9-billion-parameter generative model, linear read-out (2026)", 6.67, 1.4, 6.23),
    ),
}

PUBLISHED_COUNT = 500  # in each of the two sets

# Warnings about comparing with these scores.
WARNINGS = (
    "The published P3M-Net scores come from checkpoints that were selected on these same test "
    "sets, which were evaluated after every epoch.",
    "They were computed with RESIZE, by programs that resize without anti-aliasing and score "
    "floats (2021) or truncated 8-bit files (2024); only scores by the same protocol are "
    "comparable.",
    "Other people who retrained P3M-Net with the public program (batch 8) got SAD 9.61 on "
    "P3M-500-P and 15.94 on P3M-500-NP, instead of the published 8.73 and 11.23.",
)
