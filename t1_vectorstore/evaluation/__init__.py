"""Measuring retrieval: metrics as pure functions, and one command per benchmark."""
