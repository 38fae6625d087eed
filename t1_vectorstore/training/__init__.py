"""Training recipes: data builders, losses and one file per stage."""
