"""Reads and writes checkpoints: their arrays, their folders, and weights for inference."""
