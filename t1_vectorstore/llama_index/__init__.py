"""T1 for LlamaIndex: an embedding model, a vector store, and a retriever that reports its thoughts.

embed_model = T1Embedding(model_name="t1-mini")
vector_store = T1QdrantVectorStore.open("./index", embed_model)
index = VectorStoreIndex.from_vector_store(vector_store, embed_model)
retriever = T1Retriever(vector_store, embed_model)
"""

from t1_vectorstore.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401 - only to report a missing extra
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "llama_index":
        raise
    raise MissingExtraError("llama-index", "t1_vectorstore.llama_index") from error

from t1_vectorstore.llama_index.embedding import T1Embedding
from t1_vectorstore.llama_index.events import T1ThoughtEvent
from t1_vectorstore.llama_index.retriever import T1Retriever
from t1_vectorstore.llama_index.vectorstore import T1QdrantVectorStore

__all__ = ["T1Embedding", "T1QdrantVectorStore", "T1Retriever", "T1ThoughtEvent"]
