"""Faces: finding them in a picture, outlining their private areas, and obfuscating these."""
