"""The training data and recipes of t1-mini, and the files of ``t1 demo``; see README.md."""
