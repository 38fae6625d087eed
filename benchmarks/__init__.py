"""Measurements of this package against its alternatives; none of them is part of the package."""
