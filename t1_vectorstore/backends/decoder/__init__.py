"""A decoder of the Llama kind in plain torch: the fast path, taken only where it is proven equal to transformers."""
