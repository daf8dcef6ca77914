"""Training configurations; `train.py --config=configs/NAME.py[:ARGUMENT]` reads one."""
