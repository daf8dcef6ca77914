"""From a network to the matte of a picture of any size."""
