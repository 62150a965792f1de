"""A small local web page: drop an image, see what a run says of it."""
