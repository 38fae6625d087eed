"""``accelerate launch -m t1_vectorstore.training RECIPE --data DIR --out DIR``: ``t1 train`` on several GPUs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from t1_vectorstore.training.configs import read_recipe
from t1_vectorstore.training.run import train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m t1_vectorstore.training", description=__doc__)
    parser.add_argument("recipe", help="Path of a YAML recipe, or the name of a bundled recipe.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of training data.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the run.")
    parser.add_argument("--seed", type=int, help="Random seed, instead of the recipe's.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = train(read_recipe(arguments.recipe, seed=arguments.seed), arguments.data, arguments.out)
    logging.getLogger(__name__).info("the trained model is in %s", folder)
