"""Trains P3M-Net: `python train.py --config=configs/swin.py:smoke`; see also `--help`."""

import sys

from p3m_jax.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
