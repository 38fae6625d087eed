"""How fast the model runs, against what else could run it and against what the machine can do."""
