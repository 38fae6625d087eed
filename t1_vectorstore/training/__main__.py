"""``accelerate launch -m t1_vectorstore.training RECIPE --data FOLDER --out DIR``: as ``t1 train``, on several GPUs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from t1_vectorstore.training.configs import read_recipe
from t1_vectorstore.training.run import train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m t1_vectorstore.training", description=__doc__)
    parser.add_argument("recipe", help="a YAML file, or the name of one of the package's recipes")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data, as t1 data makes it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--seed", type=int, help="in place of the recipe's")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = train(read_recipe(given.recipe, seed=given.seed), given.data, given.out)
    logging.getLogger(__name__).info("the model is in %s", folder)
