"""Operations whose fastest form depends on the backend. Networks need not know which form runs."""
