"""``python -m t1_vectorstore``: the command ``t1``."""

from t1_vectorstore.cli import main

if __name__ == "__main__":
    main()
