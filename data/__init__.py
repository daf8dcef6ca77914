"""What defines data sets: layouts on disk, the check of one, and the synthetic portraits."""
