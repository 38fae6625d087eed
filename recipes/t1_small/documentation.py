"""Questions about this project's own documentation, in other words than its own; for evaluation.

The documents are the paragraphs of the pages, without code and tables. All paragraphs of the sections that answer a
question are relevant. The pages change, and figures with them.
"""

from __future__ import annotations

import re
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

MIN_LENGTH = 60
"""Smallest number of characters of a paragraph."""

QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("How do I stop an agent from deleting my documents?", ("mcp#Reading and writing",)),
    ("Which texts failed, and why?", ("bulk-load#What was not stored",)),
    ("Remove things that no longer exist on my disk", ("bulk-load#Prune",)),
    ("How do I make a backup?", ("bulk-load#Snapshot and restore", "servers#Snapshots, and copies in a folder")),
    ("Move to another embedding model without downtime", ("bulk-load#Reindex", "servers#Reindex behind an alias")),
    ("Can other people read what I searched for?", ("cache#Privacy",)),
    ("How much RAM do ten million documents need?", ("sizing#Disk and memory",)),
    ("Which graphics card should I rent?", ("sizing#Time on GPUs",)),
    ("Can I cancel a slow answer?", ("thinking#Stop a thought",)),
    ("Tell the model what my questions are about", ("thinking#An own instruction",)),
    ("Does a 4-bit file lose accuracy?", ("laptop#Which number type",)),
    ("Can I use the openai library with it?", ("serve#Clients of OpenAI's embeddings",)),
    ("Limit how many requests one user may send", ("serve#Load and limits",)),
    ("Keep customers apart from each other in one database", ("servers#Tenants and payload indexes",)),
    ("Why was this document found?", ("explain#Explain hits", "explain#How it is measured")),
    ("Compare it with keyword search on my own data", ("evaluation#On your own questions",)),
    ("What if a text is longer than the model's window?", ("concepts#Long texts", "llama-index#Long nodes")),
    ("Is it dangerous to load a checkpoint from a stranger?", ("concepts#Security",)),
    ("Open a database that langchain created", ("langchain#Read an existing collection of langchain-qdrant",)),
    ("Fine-tune on two graphics cards", ("training#A larger model, several GPUs",)),
    ("What files does training need?", ("training#The data",)),
    ("Run more passes to improve a vector without writing text", ("evaluation#Refine Thought",)),
    ("Vote among several chains of thought", ("thinking#Several thoughts",)),
    ("My database needs a password", ("servers#API keys",)),
    ("What happens after a network failure?", ("servers#Connections, and retries",)),
    ("Give a colleague access for reading only", ("serve#API keys",)),
    ("Where would I add a feature to the code?", ("architecture#Where to change things",)),
    ("Combine keywords with vectors", ("quickstart#Hybrid search, and fast filters",)),
    (
        "Several machines index together",
        ("many-workers#What a cluster needs", "many-workers#Load with many workers", "many-workers#What to expect"),
    ),
)
"""Questions, and the sections that answer them: ``page#heading``."""


def build(pages: Path, out: Path) -> dict[str, int]:
    """Write the corpus and ``dev``.

    Args:
        pages: Folder of the Markdown pages.
        out: Folder to write.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: There is no section that a question names.
    """
    documents: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    for page in sorted(pages.glob("*.md")):
        for heading, paragraph in _paragraphs(page.read_text(encoding="utf-8")):
            name = f"{page.stem}/{len(documents)}"
            documents[name] = paragraph
            sections.setdefault(f"{page.stem}#{heading}", []).append(name)
    examples = []
    for query, named in QUESTIONS:
        if missing := [section for section in named if section not in sections]:
            raise CorpusError(f"{pages} has no section {missing[0]!r} with text, which the question {query!r} is about")
        positives = tuple(name for section in named for name in sections[section])
        examples.append(Example(query, None, positives, part="question"))
    return write_data(out, documents, {"dev": examples})


def _paragraphs(page: str) -> list[tuple[str, str]]:
    """Return the paragraphs of a page, each with the heading above it."""
    text = re.sub(r"<!--.*?-->|```.*?```", "", page, flags=re.DOTALL)
    heading, found = "", []
    for block in re.split(r"\n\s*\n", text):
        if title := re.match(r"##? (.*)", block.strip()):
            heading = title[1]
            continue
        paragraph = " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", block).split())
        if len(paragraph) >= MIN_LENGTH and not paragraph.startswith(("|", "#")):
            found.append((heading, paragraph))
    return found
