"""A prompt as chat messages, for models that read prose. All data is JSON, so that no text can end its own quotation."""

from __future__ import annotations

import json
import re
from typing import Any

from stepladder.records import Output, Prompt


def chat_messages(prompt: Prompt) -> list[dict[str, str]]:
    """System: instruction, company text, schema. Then each example as a pair of turns. Then passages and message."""
    system = [prompt.instruction]
    if prompt.brief:
        system.append(f"Company text:\n{prompt.brief}")
    system.append(f"JSON schema of your answer:\n{_json(prompt.schema)}")
    messages = [{"role": "system", "content": "\n\n".join(system)}]
    for example in prompt.examples:
        messages.append({"role": "user", "content": _json({"message": example.text})})
        messages.append({"role": "assistant", "content": _json(_complete(example.output, prompt.schema))})
    content: dict[str, Any] = {"message": prompt.message}
    if prompt.passages is not None:
        passages = [{"doc_id": p.doc_id, "title": p.title, "text": p.text} for p in prompt.passages]
        content = {"passages": passages} | content
    return [*messages, {"role": "user", "content": _json(content)}]


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without our own `x-` keys and without `$schema`, as servers take it."""
    return dict(_plain({k: v for k, v in schema.items() if k != "$schema"}))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not k.startswith("x-")}
        fields = kept.get("properties")  # its keys are names of fields, not keywords
        named = {"properties": {n: _plain(v) for n, v in fields.items()}} if isinstance(fields, dict) else {}
        return {k: _plain(v) for k, v in kept.items()} | named
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _complete(output: Output, schema: dict[str, Any]) -> Output:
    """An example in the order of the schema; fields that nobody labelled are left out."""
    return {name: output[name] for name in schema["properties"] if name in output}


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
    return re.sub(r"\[(?=/?[A-Z_]+\])", r"\\u005b", text)
