"""Searches by text, as steps for a model and a collection."""
