"""Training of T1 models: data formats, losses, rewards, and one module per kind of stage."""
