"""Matting pictures: from a checkpoint and files to mattes, cut-outs and composites."""
