"""Load files into a collection: JSON Lines, CSV, Parquet and more, as verified points.

    python -m integrations.bulk_upsert corpus.jsonl shard-*.parquet --to http://localhost:6333 --name docs
    python -m integrations.bulk_upsert corpus.jsonl --to ./index --dead-letters dead.jsonl

A script to copy from. Run it again after an interruption, or with a newer corpus: unchanged documents are not encoded
again. Documents that cannot be read or stored are reported, and the others are stored; dead letters can be fixed and
loaded like any corpus. The API key of a server is read from QDRANT_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from t1_vectorstore import T1Embedder, T1VectorStore, default_model
from t1_vectorstore.cli.console import one_line
from t1_vectorstore.errors import T1Error
from t1_vectorstore.indexing import LoadProgress, chunker_for
from t1_vectorstore.readers import Fields, check, read


def main(argv: Sequence[str], *, embedder: T1Embedder | None = None) -> int:
    """Run the load.

    Args:
        argv: Command line, without the program's name.
        embedder: Model to use instead of ``--model``.

    Returns:
        The exit status: 0 if everything was stored, else 1.
    """
    options = _parser().parse_args(argv)
    try:
        check(options.files)  # before the model is loaded
        embedder = embedder or T1Embedder.load(options.model, truncation="allow")
        hybrid, api_key = options.hybrid or None, os.environ.get("QDRANT_API_KEY")
        with T1VectorStore.open(options.to, embedder, name=options.name, hybrid=hybrid, api_key=api_key) as store:
            chunker = chunker_for(embedder, size=options.chunk_size)
            # The collection records whether the load finished, and a server defers its indexing until then.
            loading = store.collection.loading(chunk_size=chunker.size, overlap=chunker.overlap)
            with loading, store.collection.bulk():
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
        name = "" if failure.id is None else f"{failure.id}: "  # the reason has file and line
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
    parser.add_argument("--to", required=True, metavar="DIR|URL", help="index folder, or URL of a Qdrant server")
    parser.add_argument("--name", default="t1", help="name of the collection")
    parser.add_argument("--model", default=default_model(), help="a model's name, a checkpoint folder or a hub id")
    parser.add_argument("--hybrid", action="store_true", help="store words as well as vectors, in a new collection")
    parser.add_argument("--text-field", help="field of the text; default: 'text'")
    parser.add_argument("--id-field", help="field of the id; default: 'id' or '_id'")
    parser.add_argument("--chunk-size", type=int, default=1600, help="maximum size of a chunk in characters")
    parser.add_argument("--dead-letters", type=Path, metavar="FILE", help="file for documents that were not stored")
    parser.add_argument("--prune", action="store_true", help="delete documents that the files no longer have")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
