"""The embedder: prompts, thoughts, and vectors of queries and documents."""
