#!/bin/bash
# Trains on a TPU pod slice of Google Cloud: the same command on all of its hosts.
#   docs/launch/tpu_pod.sh NAME ZONE --config=configs/swin.py \
#       --config.data.directory=/mnt/data/P3M-10k --config.batch_size=256 \
#       --config.learning_rate_rule=sqrt --config.precision=bfloat16 --workdir=/mnt/runs/swin
# Create the slice first with `gcloud compute tpus tpu-vm create NAME --zone=ZONE
# --accelerator-type=v5litepod-256 --version=v2-alpha-tpuv5-lite`. Mount a file store on all hosts at
# /mnt, and run on each of them
#   git clone REPOSITORY p3m-jax && pip install -e "p3m-jax[train,tpu]"
set -euo pipefail

name=$1 zone=$2
shift 2
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd p3m-jax && python train.py --distributed=auto $(printf '%q ' "$@")"
