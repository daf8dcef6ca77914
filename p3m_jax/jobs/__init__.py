"""Processes a collection of pictures: plans the outputs, records them, and runs the work."""
