"""Scores P3M-Net, or mattes of any program, on a test set or on your own pictures.

python evaluate.py --checkpoint runs/swin --set P3M-500-P --data P3M-10k -o results/swin-p
python evaluate.py --checkpoint runs/swin --pictures photos --mattes mattes -o results/mine
python evaluate.py --predictions theirs --set P3M-500-NP --data P3M-10k -o results/theirs
python evaluate.py --help
"""

import sys

from p3m_jax.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
