"""What may be wrong with a data set, found from cached features."""
