"""Builders of training data from public sources and from a user's own corpus, each a ``build`` function."""
