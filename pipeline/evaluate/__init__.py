"""Trust in scores: intervals, paired comparison, calibration, conformal sets."""

DISCLAIMER = "A tool for research, not a medical device: no output of it is a diagnosis."
