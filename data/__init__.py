"""The data sets: their layout on disk, synthetic portraits, and the check before a run."""
