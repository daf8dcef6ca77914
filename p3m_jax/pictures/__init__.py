"""Reads, checks and writes files that hold pictures, mattes and masks."""
