"""Code that builds parts of the documentation."""
