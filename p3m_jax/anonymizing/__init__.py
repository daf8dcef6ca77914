"""Obfuscated copies of a collection of portraits, and what has to be looked at before."""
