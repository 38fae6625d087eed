"""Export checkpoints to GGUF files, which llama.cpp runs."""
