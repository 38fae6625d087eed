"""vLLM in this process, with one copy of the weights for thoughts and vectors, or on two servers."""
