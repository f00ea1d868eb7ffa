"""Read and validate a dataset folder. Every problem is found before any work starts, with file, line and field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
import yaml

from stepladder.dataset.folder import SPLITS, Dataset, Update
from stepladder.dataset.lines import Lines, short
from stepladder.dataset.rows import Brief, CaseRow, Delete, DocumentRow, GoldRow, Turn, Upsert
from stepladder.records import Case, Document, Evidence, EvidenceSet, Gold, Output, UserError

NO_OTHER_FILES: Any = referencing.Registry()  # jsonschema would fetch a $ref from the network
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "sources"],
    "properties": {
        "answer": {"type": ["string", "null"], "description": "The fact asked for, or null if the documents do not say."},
        "sources": {"type": "array", "items": {"type": "string"}, "description": "doc_id of each document used."},
    },
}


class DatasetError(UserError):
    """What is wrong with a dataset folder: one line per problem, in `problems`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def load(folder: str | Path) -> Dataset:
    """Read a dataset folder.

    Raises DatasetError with every problem that was found. Files that a folder may lack are named in `lacks`.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DatasetError([f"{folder}: no such folder; expected a dataset folder with at least cases.jsonl (data/README.md)"])
    return _Reader(folder).read()


class _Reader(Lines):
    """What each file must say; one per folder."""

    def read(self) -> Dataset:
        schema = self._schema()
        brief = self._brief(schema)
        documents = self._documents()
        updates = self._updates({d.doc_id for d in documents})
        cases = self._cases()
        gold = self._gold(cases, documents, updates, schema)
        company = self._company()
        if self.problems:
            raise DatasetError(self.problems)
        digest = hashlib.sha256()
        names = ("documents.jsonl", "updates.jsonl", "cases.jsonl", "gold.jsonl", "schema.json", "brief.yaml", "company.md")
        for name in names:
            path = self.folder / name
            digest.update(name.encode() + (path.read_bytes() if path.exists() else b""))
        return Dataset(
            folder=self.folder,
            documents=tuple(documents),
            updates=tuple(updates),
            all_cases=tuple(cases),
            gold=gold,
            schema=schema,
            brief=brief,
            company=company,
            lacks=self.lacks,
            content_hash=digest.hexdigest(),
        )

    def _documents(self) -> list[Document]:
        seen: dict[str, int] = {}
        documents = []
        for line, row in self.rows("documents.jsonl", "no documents.jsonl: retrieval is not measured"):
            parsed = self.parse(DocumentRow, "documents.jsonl", line, row)
            if parsed and self.unique(seen, parsed.doc_id, "documents.jsonl", line, "doc_id"):
                documents.append(Document(**parsed.model_dump()))
        if not documents and "documents.jsonl" not in self.lacks:
            self.lacks["documents.jsonl"] = "documents.jsonl is empty: retrieval is not measured"
        return documents

    def _updates(self, known: set[str]) -> list[Update]:
        seen: dict[str, int] = {}
        updates: list[Update] = []
        for line, row in self.rows("updates.jsonl", "no updates.jsonl: what happens when facts change is not measured"):
            model = {"upsert": Upsert, "delete": Delete}.get(str(row.get("op")))
            if model is None:
                self.say("updates.jsonl", line, "op", f"expected 'upsert' or 'delete'; found {short(repr(row.get('op')))}")
                continue
            parsed = self.parse(model, "updates.jsonl", line, row)
            if not parsed or not self.unique(seen, parsed.doc_id, "updates.jsonl", line, "doc_id"):
                continue
            if isinstance(parsed, Upsert):
                updates.append(Update(parsed.doc_id, Document(**parsed.model_dump(exclude={"op"}))))
            elif parsed.doc_id in known:
                updates.append(Update(parsed.doc_id, None))
            else:
                self.say("updates.jsonl", line, "doc_id", f"deletes unknown document {parsed.doc_id!r}; expected an id of documents.jsonl")
        return updates

    def _cases(self) -> list[Case]:
        seen: dict[str, int] = {}
        cases: list[Case] = []
        for line, row in self.rows("cases.jsonl", ""):
            parsed = self.parse(CaseRow, "cases.jsonl", line, row)
            if not parsed or not self.unique(seen, parsed.case_id, "cases.jsonl", line, "case_id"):
                continue
            if (parsed.text is None) == (parsed.messages is None):
                self.say(
                    "cases.jsonl", line, "text", "expected either text or messages; found " + ("neither" if parsed.text is None else "both")
                )
                continue
            text = parsed.text if parsed.messages is None else _conversation(parsed.messages)
            if not text.strip():
                self.say("cases.jsonl", line, "text", "empty message; expected what the customer wrote; fill it in or remove the row")
            cases.append(Case(parsed.case_id, parsed.split, text, tuple(parsed.tags), parsed.group_id))
        if "cases.jsonl" in self.lacks:
            self.say("cases.jsonl", 0, "", "no such file; expected one case per line (data/README.md)")
        elif not any(case.split == "test" for case in cases) and not self.problems:
            found = {split: sum(case.split == split for case in cases) for split in SPLITS}
            self.say("cases.jsonl", 0, "split", f'the test split is empty (found {found}); expected at least one case with split "test"')
        for split, reason in (("train", "tuned rungs are not measured"), ("dev", "defaults are used, nothing is tuned")):
            if not any(case.split == split for case in cases):
                self.lacks[split] = f"no cases in split {split}: {reason}"
        return cases

    def _gold(self, cases: list[Case], documents: list[Document], updates: list[Update], schema: dict[str, Any]) -> dict[str, Gold]:
        known = {case.case_id for case in cases}
        texts = {d.doc_id: d.text for d in documents}
        later = {u.doc_id: u.document.text for u in updates if u.document}
        gone = {u.doc_id for u in updates if u.document is None}
        seen: dict[str, int] = {}
        gold: dict[str, Gold] = {}
        for line, row in self.rows("gold.jsonl", "no gold.jsonl: predictions are made, nothing is scored"):
            parsed = self.parse(GoldRow, "gold.jsonl", line, row)
            if not parsed or not self.unique(seen, parsed.case_id, "gold.jsonl", line, "case_id"):
                continue
            if parsed.case_id not in known:
                self.say("gold.jsonl", line, "case_id", f"unknown case {parsed.case_id!r}; expected an id of cases.jsonl")
            self._check_output(parsed.output, schema, line, "output")
            self._check_output(parsed.output_after_update or {}, schema, line, "output_after_update")
            evidence = self._evidence(parsed.evidence, texts, line, "evidence")
            after = None
            if parsed.evidence_after_update is not None:
                now = {**{k: v for k, v in texts.items() if k not in gone}, **later}
                after = self._evidence(parsed.evidence_after_update, now, line, "evidence_after_update")
            gold[parsed.case_id] = Gold(parsed.case_id, parsed.output, evidence, parsed.output_after_update, after, tuple(parsed.rejected))
        missing = sorted(known - set(gold))
        if gold and missing:
            self.lacks["gold"] = f"{len(missing)} of {len(known)} cases have no gold and are not scored, {missing[0]} among them"
        return gold

    def _check_output(self, output: Output, schema: dict[str, Any], line: int, where: str) -> None:
        properties = schema.get("properties", {})
        for name, value in output.items():
            if name not in properties or name == "sources":
                expected = [n for n in properties if n != "sources"]
                self.say("gold.jsonl", line, f"{where}.{name}", f"unknown field; expected one of {expected}")
            elif name == "answer":
                if value is not None and not (isinstance(value, list) and value and all(isinstance(v, str) and v.strip() for v in value)):
                    self.say(
                        "gold.jsonl", line, f"{where}.answer", f"expected a list of accepted wordings or null; found {short(repr(value))}"
                    )
            elif not _finite(value):
                self.say("gold.jsonl", line, f"{where}.{name}", f"{short(repr(value))} is not a finite number; expected what JSON has")
            else:
                try:
                    issues = list(jsonschema.Draft202012Validator(properties[name], registry=NO_OTHER_FILES).iter_errors(value))
                except (referencing.exceptions.Unresolvable, RecursionError) as error:
                    self.say("schema.json", 0, f"properties.{name}", f"{short(error)}; expected no $ref, or one that stands in this field")
                    continue
                for issue in issues:
                    self.say("gold.jsonl", line, f"{where}.{name}", f"{short(issue.message)}; expected what schema.json allows")

    def _evidence(self, rows: list[Any], texts: dict[str, str], line: int, where: str) -> EvidenceSet:
        items = []
        for i, row in enumerate(rows):
            item = [Evidence(e.doc_id, e.quote) for e in (row if isinstance(row, list) else [row])]
            for evidence in item:
                if evidence.doc_id not in texts:
                    self.say(
                        "gold.jsonl",
                        line,
                        f"{where}.{i}.doc_id",
                        f"unknown document {evidence.doc_id!r}; expected an id of documents.jsonl",
                    )
                elif evidence.quote is not None and _squeeze(evidence.quote) not in _squeeze(texts[evidence.doc_id]):
                    what = f"{short(repr(evidence.quote))} does not stand in document {evidence.doc_id!r}"
                    self.say("gold.jsonl", line, f"{where}.{i}.quote", f"{what}; expected its exact words; copy them from the document")
            items.append(tuple(item))
        return tuple(items)

    def _schema(self) -> dict[str, Any]:
        path = self.folder / "schema.json"
        if not path.exists():
            self.lacks["schema.json"] = "no schema.json: only `answer` and `sources` are asked for; behaviour is not measured"
            return ANSWER_SCHEMA
        try:
            schema = json.loads(path.read_text(encoding="utf-8-sig"))
            jsonschema.Draft202012Validator.check_schema(schema)
            properties = schema["properties"]
            if not properties or not all(isinstance(v, dict) for v in properties.values()):
                raise KeyError("properties")
        except jsonschema.SchemaError as error:
            self.say("schema.json", 0, ".".join(map(str, error.path)), f"{short(error.message)}; expected a JSON Schema")
        except (KeyError, TypeError):
            self.say("schema.json", 0, "properties", "missing; expected a JSON Schema of one object with its fields")
        except (OSError, ValueError, RecursionError) as error:
            self.say("schema.json", getattr(error, "lineno", 0), "", f"not valid JSON in UTF-8 ({short(error)}); expected a JSON Schema")
        else:
            return dict(schema)
        return {"properties": {}}

    def _company(self) -> str:
        path = self.folder / "company.md"
        try:
            return path.read_text(encoding="utf-8-sig") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            self.say("company.md", 0, "", f"{short(error)}; expected text in UTF-8; save it as UTF-8")
            return ""

    def _brief(self, schema: dict[str, Any]) -> Brief:
        path = self.folder / "brief.yaml"
        if not path.exists():
            self.lacks["brief.yaml"] = "no brief.yaml: the five questions are unanswered; defaults are used for target and margin"
            return Brief()
        try:
            row = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            self.say("brief.yaml", mark.line + 1 if mark else 0, "", f"not valid YAML ({short(error)})")
            return Brief()
        if not isinstance(row, dict):
            self.say("brief.yaml", 0, "", f"found {type(row).__name__}, expected the five questions as keys (data/README.md)")
            return Brief()
        brief: Brief = self.parse(Brief, "brief.yaml", 0, row) or Brief()
        fields = list(schema.get("properties", {}))
        for name in [*brief.success.must, *brief.success.field_targets]:
            if fields and name not in fields:
                self.say("brief.yaml", 0, "success", f"unknown field {name!r}; expected one of {fields}")
        return brief


def _conversation(turns: list[Turn]) -> str:
    return "\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


def _finite(value: Any) -> bool:
    try:
        return bool(json.dumps(value, allow_nan=False))
    except ValueError:
        return False


def _squeeze(text: str) -> str:
    return " ".join(text.split()).casefold()
