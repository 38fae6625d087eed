"""Bring files into a collection: JSON Lines, CSV, Parquet and more in, verified points out.

    python -m integrations.bulk_upsert corpus.jsonl shard-*.parquet --to http://localhost:6333 --name docs
    python -m integrations.bulk_upsert corpus.jsonl --to ./index --dead-letters dead.jsonl

A script to copy from. Run it again after an interruption, or with a newer corpus: what is stored and unchanged is not
encoded again. What could not be read or stored is named, and takes nothing else along; the dead letters, once mended,
are a corpus themselves. A server's API key is taken from QDRANT_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.cli.console import one_line
from t1_vectorstore.errors import T1Error
from t1_vectorstore.indexing import LoadProgress, chunker_for
from t1_vectorstore.readers import Fields, check, read


def main(argv: Sequence[str], *, embedder: T1Embedder | None = None) -> int:
    """Run the load.

    Args:
        argv: the command line, without the program's name.
        embedder: embeds instead of the model that ``--model`` names.

    Returns:
        The exit status: 0 when everything was stored, 1 when something was not.
    """
    options = _parser().parse_args(argv)
    try:
        check(options.files)  # before the model is loaded
        embedder = embedder or T1Embedder.load(options.model, truncation="allow")
        hybrid, api_key = options.hybrid or None, os.environ.get("QDRANT_API_KEY")
        with T1VectorStore.open(options.to, embedder, name=options.name, hybrid=hybrid, api_key=api_key) as store:
            chunker = chunker_for(embedder, size=options.chunk_size)
            # Whether it came to its end is remembered, and a server puts its indexing off until then.
            with store.collection.loading(chunker), store.collection.bulk():
                report = store.add(
                    partial(read, options.files, fields=Fields(options.text_field, options.id_field)),
                    chunker=chunker,
                    dead_letters=options.dead_letters,
                    prune=options.prune,
                    on_progress=_progress if sys.stderr.isatty() else None,
                )
            store.collection.settle()
            held = store.count()
    except (T1Error, ValueError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 1
    for failure in report.failures:
        name = "" if failure.id is None else f"{failure.id}: "  # the reason says where it stands
        print(f"failed: {one_line(f'{name}{failure.reason}')}", file=sys.stderr)
    print(
        f"{report.documents} documents in {report.seconds:.1f} s: {report.stored} chunks stored, {report.unchanged} "
        f"unchanged, {report.removed + report.pruned} stale removed, {report.failed + report.unread} failures; the "
        f"collection holds {held} chunks"
    )
    return 0 if report.complete else 1


def _progress(progress: LoadProgress) -> None:
    rate = progress.tokens / progress.seconds if progress.seconds else 0
    counts = f"{progress.documents} documents, {progress.stored} chunks stored, {progress.failed} failed"
    print(f"\r{counts}, {rate:,.0f} tokens/s", end="", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help=".jsonl, .csv, .tsv, .parquet; folders; - for stdin")
    parser.add_argument("--to", required=True, metavar="DIR|URL", help="an index folder or the URL of a Qdrant server")
    parser.add_argument("--name", default="t1", help="the collection's name")
    parser.add_argument("--model", default="t1-mini", help="a bundled model, a checkpoint folder or a hub id")
    parser.add_argument("--hybrid", action="store_true", help="store the words beside the vectors, in a new collection")
    parser.add_argument("--text-field", help="field of the text; the default is 'text'")
    parser.add_argument("--id-field", help="field of the id; the default is 'id' or '_id'")
    parser.add_argument("--chunk-size", type=int, default=1600, help="characters of a chunk at most")
    parser.add_argument("--dead-letters", type=Path, metavar="FILE", help="write what was not stored here, to mend it")
    parser.add_argument("--prune", action="store_true", help="delete what the files do not have any more")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
