"""Training configurations; `train.py --config=configs/NAME.py[:VARIANT]` reads one of them."""
