"""What a finished run says of new images: calibrated probabilities, prediction sets, and what they look like."""

DISCLAIMER = "A tool for research, not a medical device: no output of it is a diagnosis."
