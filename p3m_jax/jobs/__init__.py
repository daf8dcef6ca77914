"""Going through a collection of pictures: what is written where, and what is done."""
