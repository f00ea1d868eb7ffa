"""A causal language model of Hugging Face, run in this process. Safetensors only, and no code from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from stepladder.models.chat import chat_messages
from stepladder.models.protocol import ModelError
from stepladder.records import Completion, Prompt

MAX_ANSWER_TOKENS = 400


class HuggingFaceModel:
    """Greedy decoding with the tokenizer's own chat template, on a GPU where there is one."""

    workers = 1

    def __init__(self, model_id: str) -> None:
        self.name = f"hf:{model_id}"
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(model_id, trust_remote_code=False)
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(model_id, use_safetensors=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0][:200]
            raise ModelError(f"model {self.name}: {first}; expected a model id or a folder with safetensors weights") from None
        if self._tokenizer.chat_template is None:
            raise ModelError(f"model {self.name}: its tokenizer has no chat template; expected an instruction-tuned model")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(self._device).eval()

    def complete(self, prompts: Sequence[Prompt]) -> list[Completion]:
        return [self._complete(prompt) for prompt in prompts]

    def _complete(self, prompt: Prompt) -> Completion:
        inputs = self._tokenizer.apply_chat_template(
            chat_messages(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._device)
        n_in = int(inputs["input_ids"].shape[1])
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit and n_in + MAX_ANSWER_TOKENS > limit:
            return Completion("", n_in, error=f"the prompt has {n_in} tokens, the model takes {limit} with {MAX_ANSWER_TOKENS} to answer")
        with torch.inference_mode():
            out = self._model.generate(**inputs, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False)[0, n_in:]
        return Completion(self._tokenizer.decode(out, skip_special_tokens=True), n_in, len(out))
