"""The MiniLM sentence encoder: its weights, tokens, sentences, vectors, and the trained reading of a question with a passage."""

from stepladder.encoder.text import sentence_spans, sentences
from stepladder.encoder.vectors import MAX_TOKENS, Encoder, mean_pool
from stepladder.encoder.weights import DIMENSIONS, SHA256, WeightsError, check_weights, count_tokens, load_network, weights_folder

__all__ = [
    "DIMENSIONS",
    "MAX_TOKENS",
    "SHA256",
    "Encoder",
    "WeightsError",
    "check_weights",
    "count_tokens",
    "load_network",
    "mean_pool",
    "sentence_spans",
    "sentences",
    "weights_folder",
]
