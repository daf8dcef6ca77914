"""Operations whose fastest implementation depends on the backend.

Each operation chooses its implementation itself, so networks need not know which one runs.
"""
