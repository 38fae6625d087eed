"""Checkpoints: find them on this machine or on the hub, read their specification, compute their fingerprint."""
