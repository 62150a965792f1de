"""Networks trained from the images."""
