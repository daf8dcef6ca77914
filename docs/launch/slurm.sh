#!/bin/bash
# Trains on all GPUs of several nodes, one process per node:
#   sbatch docs/launch/slurm.sh --config=configs/swin.py --config.data.directory=/data/P3M-10k \
#       --config.batch_size=64 --config.learning_rate_rule=sqrt
# The clone, the data and --workdir are on a drive that all nodes share.
#SBATCH --job-name=p3m-jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
# Before the time is up, or when the nodes are taken away, a training saves and exits. Slurm starts
# it again, and it resumes. The same happens after a node is lost.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
srun --kill-on-bad-exit=1 python train.py --distributed=auto "$@"
