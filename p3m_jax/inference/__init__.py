"""Computes the mattes of pictures of any size with a network."""
