"""A causal language model of a few thousand random weights, made on the spot: its answers mean nothing, its plumbing is real."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

from stepladder.encoder.pairs import PairNetwork

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def make_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> transformers.PreTrainedTokenizerFast:
    """One token per byte, so that any text has tokens and their number can be counted by hand."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = chat_template
    return fast


def make_model(positions: int = 4096) -> transformers.LlamaForCausalLM:
    """A Llama of one layer, random but the same every time."""
    config = transformers.LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


def save_tiny_model(folder: Path, positions: int = 4096, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Model and tokenizer as a folder with safetensors weights."""
    make_model(positions).save_pretrained(folder)
    make_tokenizer(chat_template).save_pretrained(folder)
    return folder


def save_random_reader(path: Path) -> Path:
    """The published encoder under reading heads of random weights, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PairNetwork()
    save_file({name: tensor for name, tensor in network.state_dict().items() if "word_embeddings" not in name}, path)
    return path
