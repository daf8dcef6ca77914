"""Checkpoints: their arrays, their folder, and the weights for inference."""
