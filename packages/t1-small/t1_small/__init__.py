"""The files of the model t1-small, which t1-vectorstore loads by this package's place. There is no code."""
