"""llama.cpp in this process: GGUF files, quantised or not, on a CPU or a GPU. torch is not imported."""
