"""Builds the training data of t1-mini, and the corpus and queries of ``t1 demo``. See README.md."""
