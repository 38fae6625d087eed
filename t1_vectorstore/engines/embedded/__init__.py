"""The embedded engine: qdrant-edge on a folder."""
