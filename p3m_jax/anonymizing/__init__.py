"""Obfuscated copies of a collection of portraits, and the review before they are released."""
