"""Finds faces in a picture, outlines their face areas, and obfuscates these areas."""
