"""vLLM in this process: thoughts and vectors out of one engine, with one copy of the weights."""
