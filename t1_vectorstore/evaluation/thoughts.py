"""Thoughts to embed queries with in place of a model's own: what the right ones are worth, and whether others mislead.

``gold`` is the upper bound of thinking. ``swapped`` shows whether a vector listens to its thought: one that does finds
the documents of the query whose thought it was given. A query of which no right thought is known gets none from either.
"""

from __future__ import annotations

from t1_vectorstore.evaluation.benchmark import Benchmark


def gold(task: Benchmark) -> dict[str, str]:
    """The first right thought of each query, by query id.

    Raises:
        ValueError: none is known.
    """
    if not task.thoughts:
        raise ValueError(
            f"{task.name} has no right thoughts to give: t1 data writes them to SPLIT.jsonl, beside "
            "queries.SPLIT.jsonl; leave gold and swapped out"
        )
    return {query: task.thoughts[query][0] for query in task.queries if query in task.thoughts}


def swapped(task: Benchmark) -> dict[str, str]:
    """For each query the right thought of the next one that is thought about in other words, by query id.

    Raises:
        ValueError: none is known, or all are the same.
    """
    right = gold(task)
    names = list(right)
    other: dict[str, str] = {}
    for place, query in enumerate(names):
        following = (right[name] for name in [*names[place + 1 :], *names[:place]])
        thought = next((thought for thought in following if thought not in task.thoughts[query]), None)
        if thought is None:
            raise ValueError(f"{task.name} has no other thought than {right[query]!r}: there is nothing to swap")
        other[query] = thought
    return other
