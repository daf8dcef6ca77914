"""Faces: finding them in a picture, outlining their face areas, and obfuscating these."""
