"""The server engine: a Qdrant server, over REST and gRPC."""
