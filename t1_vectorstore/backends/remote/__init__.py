"""Models on servers that this package does not start: vLLM's and llama.cpp's."""
