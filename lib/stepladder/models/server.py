"""Any OpenAI-compatible server: OpenAI itself, Ollama, vLLM, llama.cpp, `transformers serve`.

Keys and addresses come from the environment and never leave this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import openai

from stepladder.cache import Cache, Stopwatch, content_hash
from stepladder.models.chat import chat_messages, plain_schema
from stepladder.models.protocol import ModelError
from stepladder.records import Completion, Prompt

TIMEOUT_SECONDS = 120.0
MAX_RETRIES = 3
MAX_ANSWER_TOKENS = 800
_WRONG_SETUP = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


def openai_client(timeout: float = TIMEOUT_SECONDS) -> openai.OpenAI:
    """A client for `OPENAI_BASE_URL` with `OPENAI_API_KEY`. Raises ModelError where neither is set."""
    key, base_url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not base_url:
        raise ModelError("model openai: found neither OPENAI_API_KEY nor OPENAI_BASE_URL; set the key, or the address of a local server")
    return openai.OpenAI(api_key=key or "none", base_url=base_url or None, timeout=timeout, max_retries=MAX_RETRIES)


def ollama_client(timeout: float = TIMEOUT_SECONDS) -> openai.OpenAI:
    """A client for the Ollama server at `OLLAMA_HOST` (default 127.0.0.1:11434)."""
    host = os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
    host = host if "://" in host else f"http://{host}"
    return openai.OpenAI(api_key="none", base_url=f"{host.rstrip('/')}/v1", timeout=timeout, max_retries=MAX_RETRIES)


class ServerModel:
    """Chat completions with a JSON schema where the server honours one. Answers are cached: none is paid for twice.

    A server that refuses an option (400) is asked again without it, and remembered. Time-outs, refusals and server
    errors are failures of their case; a wrong key, a wrong model name or no server at all is a ModelError.
    """

    workers = 4

    def __init__(self, name: str, model: str, client: openai.OpenAI, cache: Cache | None = None, temperature: float = 0.0) -> None:
        self.name = name
        self.model = model
        self.client = client
        self.cache = cache or Cache()
        self.temperature = temperature
        self._level = 0  # how many options the server has refused
        self._reached = False

    def complete(self, prompts: Sequence[Prompt]) -> list[Completion]:
        return [self._complete(prompt) for prompt in prompts]

    def _complete(self, prompt: Prompt) -> Completion:
        messages = chat_messages(prompt)
        key = content_hash(str(self.client.base_url), self.model, self.temperature, messages)
        stored = self.cache.get("completions", key)
        if stored is not None:
            return Completion(**json.loads(stored))
        with Stopwatch() as watch:
            completion = self._ask(messages, prompt.schema)
        if not completion.error:
            self.cache.put("completions", key, json.dumps(completion.__dict__).encode(), watch.seconds)
        return completion

    def _options(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """What to ask of the server, most demanding first."""
        strict = schema.get("additionalProperties") is False and set(schema.get("required", [])) == set(schema["properties"])
        wanted = {"name": "output", "schema": plain_schema(schema), "strict": strict}
        sampling = {"temperature": self.temperature, "max_tokens": MAX_ANSWER_TOKENS}
        form = {"response_format": {"type": "json_schema", "json_schema": wanted}}
        return [form | sampling, sampling, form, {}]

    def _ask(self, messages: list[dict[str, str]], schema: dict[str, Any]) -> Completion:
        options = self._options(schema)
        refusal = ""
        for level in range(self._level, len(options)):
            try:
                reply = self.client.chat.completions.create(model=self.model, messages=messages, **options[level])  # type: ignore[arg-type]
            except openai.BadRequestError as error:
                refusal = self._said(error)
                continue
            except _WRONG_SETUP as error:
                raise ModelError(f"model {self.name}: {self._said(error)}; check the model's name, the key and the address") from None
            except openai.APITimeoutError:
                return Completion("", error=f"no answer within {self.client.timeout} seconds")
            except openai.APIConnectionError as error:
                if not self._reached:
                    raise ModelError(
                        f"model {self.name}: no server answers at {self.client.base_url} ({self._said(error)}); start it or set its address"
                    ) from None
                return Completion("", error=f"connection lost: {self._said(error)}")
            except (openai.OpenAIError, ValueError) as error:  # ValueError: a body that is no JSON
                return Completion("", error=self._said(error))
            self._level, self._reached = level, True
            return _completion(reply)
        return Completion("", error=f"refused: {refusal}")

    def _said(self, error: Exception) -> str:
        """What went wrong, without the key."""
        text = f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
        key = self.client.api_key
        return (text.replace(key, "***") if key and key != "none" else text)[:300]


def _completion(reply: Any) -> Completion:
    choices = getattr(reply, "choices", None)  # a page of HTML comes as a str
    choice = choices[0] if choices else None
    text = (choice.message.content or "") if choice else ""
    error = ""
    if choice is None:
        error = "the server sent no choice"
    elif getattr(choice.message, "refusal", None):
        error = "the model refused"
    elif not text and choice.finish_reason:
        error = f"empty answer ({choice.finish_reason})"
    usage = getattr(reply, "usage", None)
    return Completion(text, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0, error)
