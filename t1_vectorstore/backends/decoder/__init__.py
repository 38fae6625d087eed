"""A Llama-style decoder in plain torch, for the models on which tests prove it equal to transformers."""
