"""What happens to an index over its life: it is proven, moved to another model, saved and brought back."""
