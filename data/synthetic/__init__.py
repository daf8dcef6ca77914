"""Portraits drawn by the program, with exact mattes."""
