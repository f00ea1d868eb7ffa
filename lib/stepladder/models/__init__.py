"""Models by name: `embedded`, `openai:NAME`, `ollama:NAME`, `hf:ID`."""

from __future__ import annotations

from stepladder.cache import Cache
from stepladder.models.protocol import Model, ModelError

__all__ = ["Model", "ModelError", "check_model_name", "is_priced", "load_model"]


def check_model_name(name: str) -> None:
    """Raises ModelError for a name that `load_model` would not know."""
    kind, _, rest = name.partition(":")
    if name != "embedded" and not (kind in ("openai", "ollama", "hf") and rest):
        raise ModelError(f"model: found {name!r}, expected embedded, openai:NAME, ollama:NAME or hf:ID")


def is_priced(name: str) -> bool:
    """Does every call cost money? Then the batch stops at the first gate that does not open."""
    return name.startswith("openai:")


def load_model(name: str, cache: Cache | None = None) -> Model:
    """The model of that name. Raises ModelError, saying what to set."""
    check_model_name(name)
    kind, _, rest = name.partition(":")
    cache = cache or Cache()
    if kind in ("openai", "ollama"):
        from stepladder.models.server import ServerModel, ollama_client, openai_client

        return ServerModel(name, rest, openai_client() if kind == "openai" else ollama_client(), cache)
    if kind == "hf":
        from stepladder.models.huggingface import HuggingFaceModel

        return HuggingFaceModel(rest)
    from stepladder.encoder import Encoder
    from stepladder.models.embedded import EmbeddedModel

    return EmbeddedModel(Encoder(cache))
