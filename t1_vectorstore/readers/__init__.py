"""Read files as documents, lazily: only one document is in memory at a time.

Each problem is a ``CorpusError`` that names the file, the line and the reason. It is raised, or passed to ``on_error``,
after which reading continues with the next line or file. Files in a folder that have no reader are reported as well.
"""

from t1_vectorstore.readers.files import RECORD_READERS, check, read, read_folder, read_text, total_bytes
from t1_vectorstore.readers.html import read_html
from t1_vectorstore.readers.lines import OnBytes, OnError
from t1_vectorstore.readers.office import read_office
from t1_vectorstore.readers.parquet import read_parquet
from t1_vectorstore.readers.pdf import read_pdf
from t1_vectorstore.readers.records import FAILURE_FIELD, Fields, read_csv, read_jsonl

__all__ = [
    "FAILURE_FIELD",
    "RECORD_READERS",
    "Fields",
    "OnBytes",
    "OnError",
    "check",
    "read",
    "read_csv",
    "read_folder",
    "read_html",
    "read_jsonl",
    "read_office",
    "read_parquet",
    "read_pdf",
    "read_text",
    "total_bytes",
]
