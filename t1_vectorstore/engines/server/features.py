"""What a server must be new enough for. An older one ignores what it does not know, and answers something else."""

from __future__ import annotations

import re
from types import MappingProxyType

from t1_vectorstore.errors import StoreError

SINCE = MappingProxyType(
    {
        "record whose vectors a collection holds": (1, 16),  # create_collection(metadata=)
        "fuse rankings as the other engines do": (1, 16),  # Rrf(k=)
        "choose hits that differ": (1, 15),  # Mmr
    }
)
"""In words the server can complete, and since which version it can."""


def demand(feature: str, version: str, where: str) -> None:
    """Refuse a feature that a server does not have.

    Raises:
        StoreError: its version is older; one that cannot be read (a build from source) is not.
    """
    needed = SINCE[feature]
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < needed:
        raise StoreError(
            f"{where} runs Qdrant {version}, which cannot {feature}; version {needed[0]}.{needed[1]} or later can"
        )
