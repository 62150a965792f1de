"""What a finished run says of new images: calibrated probabilities, prediction sets, and what they look like."""
