"""Operations whose fastest form depends on the backend. The networks do not know which one runs."""
