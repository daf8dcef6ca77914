"""Faces: where they are in a picture, which part of them is private, and how it is obfuscated."""
