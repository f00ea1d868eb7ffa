"""Chunk, embed, index, filter, fuse, rerank, update, save."""

from stepladder.search.chunk import chunk
from stepladder.search.fuse import reciprocal_rank_fusion
from stepladder.search.index import SearchIndex, keep_within
from stepladder.search.rerank import Reranker, load_reranker
from stepladder.search.settings import Between, Changes, SearchSettings
from stepladder.search.store import IndexFileError, load, save

__all__ = [
    "Between",
    "Changes",
    "IndexFileError",
    "Reranker",
    "SearchIndex",
    "SearchSettings",
    "chunk",
    "keep_within",
    "load",
    "load_reranker",
    "reciprocal_rank_fusion",
    "save",
]
