"""Chunk, embed, index, filter, fuse, rerank, update."""

from stepladder.search.chunk import chunk
from stepladder.search.index import SearchIndex, SearchSettings, reciprocal_rank_fusion

__all__ = ["SearchIndex", "SearchSettings", "chunk", "reciprocal_rank_fusion"]
