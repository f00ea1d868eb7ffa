"""Kind chat: conversations in the JSON Lines of fine-tuning services, `{"messages": [{"role", "content"}]}`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.importers.documents import safe_id
from stepladder.importers.draft import Collected, Draft, Turns, squeezed
from stepladder.importers.fields import MAX_VALUES, field_name, is_label_like, is_missing, items_of, kind_of, label_of, spec_of
from stepladder.importers.json_rows import flat, read_json_rows
from stepladder.importers.options import Options
from stepladder.importers.reading import named_apart, source_files, strict_json
from stepladder.importers.report import Place, Report, short
from stepladder.records import Output

ROLES = {"user": "customer", "assistant": "agent", "system": "system", "developer": "system"}
SUFFIXES = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True)
class _Chat:
    """One conversation; `wanted` is what the last assistant turn says: an object, flat, or text."""

    place: Place
    system: str
    turns: Turns
    wanted: dict[str, Any] | str


def collect_chat(sources: Sequence[Path], options: Options, report: Report) -> Collected:
    """What the last assistant turn of each conversation says is gold; the turns before it are the case.

    A JSON object becomes fields, text becomes the one accepted wording of the answer. The system text of most is
    company.md; how many have another one is noted. Conversations that begin with the same message stay in one split.
    """
    collected = Collected()
    chats: list[_Chat] = []
    for path, name in named_apart(source_files(sources, SUFFIXES, report)).items():
        for place, row in read_json_rows(path, name, report):
            if isinstance(chat := _chat(place, row), _Chat):
                chats.append(chat)
            else:
                report.leave_out(place, "not a conversation that ends with an answer", chat)
    systems = Counter(chat.system for chat in chats)
    if systems:
        collected.company, count = systems.most_common(1)[0]
        if count < len(chats):
            report.notes.append(
                f"{len(chats) - count:,} conversations have another system text than most; company.md has that of {count:,}"
            )
    names = _fields(chats, collected, report)
    collected.cases = [_case(chat, names, collected.fields, report) for chat in chats]
    collected.rows = len(chats) + report.count("row left out")
    return collected


def _chat(place: Place, row: dict[str, Any]) -> _Chat | str:
    """The conversation of a row, or what is wrong with it."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return f"found the keys {short(list(row), 60)}, expected messages: a list of role and content"
    turns: list[tuple[str, str]] = []
    for message in messages:
        role = ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
        content = _content(message.get("content")) if role else None
        if role is None or content is None:
            return f"found {short(repr(message), 80)}, expected role user, assistant or system, and content of text"
        turns.append((role, content))
    system = "\n\n".join(text for role, text in turns if role == "system")
    said = tuple(turn for turn in turns if turn[0] != "system")
    if len(said) < 2 or said[-1][0] != "agent" or said[-2][0] != "customer" or not said[-1][1].strip():
        return f"found the roles {[role for role, _ in turns]}, expected a user turn and then a last assistant turn with text"
    return _Chat(place, system, said[:-1], _wanted(said[-1][1]))


def _content(content: Any) -> str | None:
    """The text of a turn: a string, or a list of text parts; None for pictures, calls of tools and the like."""
    if isinstance(content, list) and content and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        return "\n".join(part["text"] for part in content)
    return content if isinstance(content, str) else None


def _wanted(text: str) -> dict[str, Any] | str:
    """The flat object that a turn holds, or its text where it holds none."""
    try:
        value = strict_json(text)
        return flat(value) if isinstance(value, dict) and value else text.strip()
    except ValueError:
        return text.strip()


def _fields(chats: Sequence[_Chat], collected: Collected, report: Report) -> dict[str, str]:
    """Key -> field, with the specs of the fields put into `collected`; keys that are no labels are noted and have none."""
    values: dict[str, list[Any]] = {}
    for chat in chats:
        for key, value in chat.wanted.items() if isinstance(chat.wanted, dict) else ():
            values.setdefault(key, []).append(value)
    names: dict[str, str] = {}
    for key, its in values.items():
        if key in ("answer", "sources"):
            if key == "sources":
                report.notes.append(
                    "key 'sources' of the answers not taken: citations are scored against evidence, which a chat does not have"
                )
            continue
        kind = kind_of(its)
        if kind in ("other", "span", "empty"):
            report.notes.append(f"key {short(repr(key), 60)} of the answers not taken: its values are no labels of one kind")
            continue
        labels = [label_of(value, kind) if not is_missing(value) else None for value in its]
        known = [label for label in labels if label is not None]
        closed = is_label_like(known) if kind == "string" else len({i for items in known if kind == "list" for i in items}) <= MAX_VALUES
        names[key] = field_name(key, names.values())
        collected.fields[names[key]] = spec_of(key, kind, labels, closed, nullable=None in labels)
        if names[key] != key:
            report.notes.append(f"key {short(repr(key), 60)} of the answers is field {names[key]!r}")
    return names


def _case(chat: _Chat, names: dict[str, str], fields: dict[str, dict[str, Any]], report: Report) -> Draft:
    text = "\n".join(text for _, text in chat.turns)
    return Draft(
        place=chat.place,
        case_id=safe_id(f"{chat.place.file.rpartition('.')[0]}-{chat.place.line}"),
        text=text if len(chat.turns) > 1 else chat.turns[0][1],
        group=f"first {squeezed(chat.turns[0][1])}",
        messages=chat.turns if len(chat.turns) > 1 else (),
        output=_output(chat, names, fields, report),
    )


def _output(chat: _Chat, names: dict[str, str], fields: dict[str, dict[str, Any]], report: Report) -> Output:
    """The labels of a conversation. A null in its object means that the field must be empty."""
    if isinstance(chat.wanted, str):
        return {"answer": [chat.wanted]}
    output: Output = {}
    for key, name in names.items():
        if key in chat.wanted:
            value = chat.wanted[key]
            kind = kind_of([value])
            output[name] = None if is_missing(value) else label_of(value, kind)
    if "answer" in chat.wanted:
        answer = chat.wanted["answer"]
        wordings = items_of(answer, ";") if isinstance(answer, list) and kind_of([answer]) == "list" else [answer]
        if is_missing(answer):
            output["answer"] = None
        elif wordings and all(isinstance(wording, str) for wording in wordings):
            output["answer"] = wordings
        else:
            report.say(
                chat.place, "label left out", "no answer in words", f"found {short(repr(answer), 60)}, expected text or a list of texts"
            )
    return output
