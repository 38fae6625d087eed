"""Questions and documents about countries, made from the World Factbook: what is shown, trained on and measured.

``corpus.jsonl.gz`` and ``queries.jsonl`` are the demo's data, written by :mod:`t1_vectorstore.demo.build`.
"""
