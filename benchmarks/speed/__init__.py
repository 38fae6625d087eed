"""Measure how fast the model runs, compared with other libraries and with the limits of the machine."""
