"""The data card's tables, on a literal folder counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder import card, dataset
from stepladder.cache import Cache
from stepladder.encoder import Encoder

SCHEMA = {
    "type": "object",
    "properties": {"intent": {"enum": ["late", "price"]}, "answer": {"type": ["string", "null"]}, "sources": {"type": "array"}},
}
CASES = [
    ("t1", "train", "where is my parcel", "late", None, []),
    ("t2", "train", "the parcel is late", "late", None, []),
    ("t3", "train", "what is the price of a mug", "price", ["£8"], [{"doc_id": "mug"}]),
    ("t4", "train", "price of the rope", "price", ["£90"], [{"doc_id": "rope"}]),
    ("d1", "dev", "parcel late again", "late", None, []),
    ("d2", "dev", "my parcel, where", "late", None, []),
    ("d3", "dev", "what does a mug of enamel cost", "price", ["£8"], [{"doc_id": "mug"}]),
    ("d4", "dev", "is the rope long", "price", ["60 m"], [{"doc_id": "rope"}]),
    ("x1", "test", "price?", "price", None, []),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"mug": "The enamel mug costs £8.", "rope": "The climbing cord measures 60 m."}
    about = {"title": "", "url": "", "kind": "product", "updated_at": "2026-01-01"}
    documents = [{"doc_id": i, "status": "published", "text": t} | about for i, t in texts.items()]
    documents.append({"doc_id": "old", "status": "draft", "text": "A rope costs £1."} | about)
    cases = [{"case_id": i, "split": s, "text": t, "tags": ["number"] if a else []} for i, s, t, _, a, _ in CASES]
    gold = [{"case_id": i, "output": {"intent": v, "answer": a}, "evidence": e} for i, _, _, v, a, e in CASES]
    updates = [{"op": "delete", "doc_id": "old"}, documents[0] | {"op": "upsert", "text": "The enamel mug costs £9."}]
    for name, rows in {"documents": documents, "cases": cases, "gold": gold, "updates": updates}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    return tmp_path


def test_contents_and_slices_are_counted(folder: Path) -> None:
    loaded = dataset.load(folder)
    table = card.contents(loaded).set_index("")
    assert table.loc["documents, product"].tolist() == [2, 1, 0]
    assert card.updates(loaded) == {"change a document": 1, "add one": 0, "delete one": 1}
    assert card.slices(loaded).set_index("slice").loc["`number`"].tolist() == [2, 2, 0]


def test_hardness_is_measured_on_dev(folder: Path, tmp_path: Path) -> None:
    hard = card.hardness(dataset.load(folder), Encoder(Cache(tmp_path / "cache")))
    assert hard["intent by TF-IDF"] == 1.0
    assert hard["BM25 first"] == 0.5, "the mug is found by its word, the cord is called a rope, and drafts are never found"
    assert hard["best constant"] == 0.5, "late with no answer resolves two of four"


def test_the_card_is_markdown(folder: Path, tmp_path: Path) -> None:
    text = card.card(folder, Cache(tmp_path / "cache"))
    assert "| documents, product | 2 | 1 | 0 |" in text
    assert "| all cases | 4 | 4 | 1 |" in text
    assert "| best constant | 0.50 |" in text
    assert "second pass" not in text, "there was none"
