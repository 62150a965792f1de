"""A closer look at a data set through its features."""
