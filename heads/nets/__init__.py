"""Networks trained from images: the founding project's simple CNN, and fine-tuning of any backbone."""
