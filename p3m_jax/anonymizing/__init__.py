"""Makes obfuscated copies of a collection of portraits, and has doubtful ones reviewed."""
