"""Training data and recipes of t1-small."""
