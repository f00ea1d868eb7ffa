"""The audit of a dataset folder, on literal rows: each fault planted by hand is found, and nothing else."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepladder import audit, dataset
from stepladder.cache import Cache
from stepladder.dataset import Dataset
from stepladder.encoder import Encoder, WeightsError
from stepladder.encoder.text import fingerprints
from stepladder.records import Case, Split

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["late", "broken"]},
        "topics": {"type": "array", "items": {"enum": ["boots", "tents"]}},
        "answer": {"type": ["string", "null"]},
        "sources": {"type": "array"},
    },
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(Cache(tmp_path_factory.mktemp("cache")))


def folder_of(path: Path, cases: list[dict[str, Any]], gold: list[dict[str, Any]], **files: str) -> Dataset:
    path.mkdir(exist_ok=True)
    (path / "cases.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cases), encoding="utf-8")
    (path / "gold.jsonl").write_text("".join(json.dumps(g) + "\n" for g in gold), encoding="utf-8")
    (path / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return dataset.load(path)


def case(case_id: str, split: Split, text: str, tags: tuple[str, ...] = (), group: str | None = None) -> Case:
    return Case(case_id, split, text, tags, group)


def document(text: str, updated_at: str = "2026-03-01") -> str:
    row = {"doc_id": "d", "title": "D", "url": "", "kind": "page", "status": "published", "updated_at": updated_at, "text": text}
    return json.dumps(row) + "\n"


def test_balance_counts_values_of_enums_and_of_lists(tmp_path: Path) -> None:
    cases = [{"case_id": f"c{i}", "split": s, "text": "hello"} for i, s in enumerate(["train", "train", "test"])]
    gold = [{"case_id": "c0", "output": {"intent": "late", "topics": ["boots", "tents"]}}, {"case_id": "c1", "output": {"intent": "late"}}]
    table = audit.balance(folder_of(tmp_path, cases, gold)).set_index(["field", "value"])
    assert table.loc[("intent", "late"), ["train", "dev", "test"]].tolist() == [2, 0, 0]
    assert table.loc[("topics", "tents"), "train"] == 1
    assert table.loc[("intent", "broken"), "thin"] == "thin"
    assert len(table) == 4


def test_near_duplicates_across_splits_are_listed_and_declared_ones_marked(encoder: Encoder) -> None:
    told = "My parcel with the green tent has not come for nine days now, where is it?"
    cases = [
        case("a", "train", told),
        case("b", "test", told.upper() + " Please answer soon, I am leaving."),
        case("c", "test", told + "!"),
        case("d", "train", "The zip of my jacket broke on a hill in the rain.", group="g"),
        case("e", "dev", "The zip of my jacket broke on a hill in the rain", group="g"),
        case("f", "test", "Do you sell left-handed ice axes?"),
        case("g", "dev", "x"),
    ]
    pairs = audit.near_duplicates(cases, encoder)
    found = {(row["case_id"], row["other_case_id"]): row["declared"] for row in pairs.to_dict("records")}
    assert found == {("b", "a"): "", ("c", "a"): "", ("e", "d"): "declared"}, "test first; same split is no leak"
    assert (pairs["containment"] <= 1.0001).all()
    assert audit.near_duplicates([case("x", "test", "a")], encoder).empty


def test_taught_pairs_are_declared(encoder: Encoder) -> None:
    pairs = audit.near_duplicates(
        [case("a", "train", "how long is the rope?", ("taught",)), case("b", "test", "how long is the rope??", ("taught",))], encoder
    )
    assert pairs["declared"].tolist() == ["declared"]


def test_containment_is_that_of_sets_of_grams(encoder: Encoder) -> None:
    a, b = "abcdefgh", "abcdefxyz"
    pairs = audit.near_duplicates([case("a", "train", a), case("b", "test", b)], encoder, containment=0.01, cosine=2)
    grams = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b)]
    assert pairs["containment"].iloc[0] == pytest.approx(len(grams[0] & grams[1]) / min(map(len, grams)))


def test_a_wrong_label_is_the_most_suspicious(tmp_path: Path, encoder: Encoder) -> None:
    late = [
        "where is my parcel",
        "the parcel is late",
        "my parcel has not arrived",
        "no parcel yet",
        "when does my parcel come",
        "parcel lost?",
    ]
    broken = ["the zip is torn", "my stove is broken", "the pole snapped", "a broken buckle", "the sole is torn off", "the seam is broken"]
    texts = late + broken
    given = ["late"] * 6 + ["broken"] * 6
    given[1] = "broken"
    cases = [{"case_id": f"c{i}", "split": "train" if i % 2 else "test", "text": t} for i, t in enumerate(texts)]
    gold = [{"case_id": f"c{i}", "output": {"intent": v}} for i, v in enumerate(given)]
    listed = audit.suspicious_labels(folder_of(tmp_path, cases, gold), encoder)
    assert listed.iloc[0][["case_id", "field", "label", "others say"]].tolist() == ["c1", "intent", "broken", "late"]
    assert (np.diff(listed["margin"]) <= 0).all()


def test_too_few_cases_are_not_suspected(tmp_path: Path, encoder: Encoder) -> None:
    folder = folder_of(tmp_path, [{"case_id": "a", "split": "test", "text": "x"}], [{"case_id": "a", "output": {"intent": "late"}}])
    assert audit.suspicious_labels(folder, encoder).empty


def test_answers_that_do_not_stand_in_their_evidence(tmp_path: Path) -> None:
    cases = [{"case_id": i, "split": "test", "text": "?"} for i in "abc"]
    evidence = [{"doc_id": "d", "quote": "The label costs £3.95, and a box £2."}]
    answers = {"a": ["£3.95"], "b": ["£5.95"], "c": None}
    gold = [{"case_id": i, "output": {"answer": v}, "evidence": evidence if v else []} for i, v in answers.items()]
    found = audit.unsupported_answers(folder_of(tmp_path, cases, gold, documents__jsonl=document("The label costs £3.95, and a box £2.")))
    assert found["case_id"].tolist() == ["b"]


def test_other_languages() -> None:
    cases = [
        case("en", "test", "whre is my parcel its been 2 weeks, thx!! order 4521"),
        case("de", "test", "Guten Tag, ich warte seit zwei Wochen auf mein Paket mit dem Zelt."),
        case("fr", "train", "Bonjour, je voudrais renvoyer mes chaussures, elles sont trop petites."),
        case("short", "test", "Merci bien"),
    ]
    found = audit.other_languages(cases)
    assert dict(zip(found["case_id"], found["language"], strict=True)) == {"de": "de", "fr": "fr"}


def test_slices_say_how_many_cases_the_margin_needs(tmp_path: Path) -> None:
    cases = [{"case_id": f"c{i}", "split": "test", "text": "?", "tags": ["edge"] if i < 2 else []} for i in range(60)]
    table = audit.slices(folder_of(tmp_path, cases, [])).set_index("slice")
    assert table.loc["all cases", "test"] == 60
    assert table.loc["edge", "test"] == 2
    assert np.isnan(table.loc["edge", "smallest difference"])
    assert table.loc["edge", "more for the margin"] == 626 - 2, "626: five points at 20 % discordant (Connor 1987)"


BRIEF = "update_frequency: {0}\nsources_required: {1}\ndata_audit: {{examples: {2}}}\n"


@pytest.mark.parametrize(
    ("frequency", "newest", "agree"),
    [
        ("weekly", "2026-03-01", "yes"),
        ("weekly", "2024-03-01", "no"),
        ("monthly", "2025-03-01", "yes"),
        ("daily", "2026-03-01", "no"),
        ("never", "2026-03-01", "yes"),
    ],
)
def test_how_often_facts_change_is_held_against_the_dates(frequency: str, newest: str, agree: str, tmp_path: Path) -> None:
    cases = [{"case_id": "a", "split": "test", "text": "?"}]
    folder = folder_of(tmp_path, cases, [], documents__jsonl=document("x", newest), brief__yaml=BRIEF.format(frequency, "false", 0))
    table = audit.brief_against_data(folder, date(2026, 5, 1)).set_index("question")
    assert table.loc["How often do facts change?", "agree"] == agree


def test_the_other_questions_are_held_against_the_data(tmp_path: Path) -> None:
    cases = [{"case_id": "a", "split": "train", "text": "?"}, {"case_id": "b", "split": "test", "text": "?"}]
    gold = [{"case_id": "a", "output": {"intent": "late"}}]
    folder = folder_of(tmp_path, cases, gold, brief__yaml=BRIEF.format("weekly", "true", 150))
    table = audit.brief_against_data(folder, date(2026, 5, 1)).set_index("question")
    assert table["agree"].tolist() == ["no", "no", "cannot tell", "cannot tell", "no"]
    assert "no case labels topics, answer" in table.loc["What is success?", "the data says"]
    assert table.loc["How many good examples?", "the data says"] == "1 labelled train cases"


def test_messages_too_long_for_the_encoder_are_counted() -> None:
    lengths = audit.token_lengths([case("a", "test", "hello there"), case("b", "test", "word " * 300)])
    assert lengths["a"] == 2
    assert audit.too_long(lengths) == 1


# --- what the embedded reader was trained on

LEARNED = (
    "Goods may come back to us within thirty days. Postage is paid by the customer in most cases. Gift cards never go out of date here!"
)


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that was trained on one page."""
    np.save(tmp_path / "sources.npy", fingerprints([LEARNED]))
    monkeypatch.setattr(audit, "SOURCES", tmp_path / "sources.npy")


@pytest.mark.parametrize(
    ("text", "shared", "of"),
    [
        (LEARNED, 3, 3),
        ("We sell tents of all sizes here. GOODS may come back, to us, within thirty days!\n- gift cards never go out of date here", 2, 3),
        ("Goods may come back to us within thirty days. Nothing else on this page is known.", None, None),
        ("Goods may come back to us within thirty days.\n" * 3, None, None),  # one sentence, however often
        ("Goods may come back to us within thirty days or postage is paid by the customer in most cases.", None, None),
        ("Short. Shorter.", None, None),
    ],
)
def test_texts_that_share_two_sentences_with_the_training_are_listed(
    tmp_path: Path, learned: None, text: str, shared: int | None, of: int | None
) -> None:
    cases = [{"case_id": "a", "split": "test", "text": "Is it true that goods may come back to us within thirty days?"}]
    for what, folder in (
        ("document", folder_of(tmp_path / "one", cases, [], documents__jsonl=document(text))),
        ("case", folder_of(tmp_path / "two", [*cases, {"case_id": "d", "split": "train", "text": text}], [])),
    ):
        rows = audit.seen_by_reader(folder)
        assert rows.columns.tolist() == ["what", "id", "shared sentences", "of"]
        assert rows.to_numpy().tolist() == ([] if shared is None else [[what, "d", shared, of]])


def test_a_package_without_the_fingerprints_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SOURCES", tmp_path / "none.npy")
    with pytest.raises(WeightsError, match=r"none\.npy: no such file; expected the fingerprints"):
        audit.seen_by_reader(folder_of(tmp_path, [{"case_id": "a", "split": "test", "text": LEARNED}], []))


def test_fingerprints_are_sorted_and_each_is_there_once() -> None:
    found = fingerprints([LEARNED, "Quite another sentence stands in this text.", LEARNED])
    assert (found.dtype, len(found)) == (np.dtype(np.uint64), 4)
    assert (found[1:] > found[:-1]).all()
    assert (found == fingerprints(["Quite another sentence stands in this text.", LEARNED])).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Goods may come back within thirty days.", "GOODS, may come-back (within) 'thirty' days!"),
        ("Goods may come back within thirty days.", "\n  Goods  may\tcome back within thirty days"),
        ("Über Größe redet hier keiner mehr.", "über größe: redet hier keiner mehr"),
    ],
)
def test_case_and_punctuation_do_not_matter(one: str, other: str) -> None:
    assert fingerprints([one]).tolist() == fingerprints([other]).tolist()
    assert len(fingerprints([one])) == 1


@pytest.mark.parametrize(
    "other",
    [
        "Goods may come back within forty days.",
        "Goods may come within back thirty days.",
        "Goods may come back within 30 days.",
        "Goods may come back within thirty days now.",
    ],
)
def test_another_word_or_order_is_another_sentence(other: str) -> None:
    assert not set(fingerprints(["Goods may come back within thirty days."])) & set(fingerprints([other]))


@pytest.mark.parametrize(
    ("text", "n"), [("One two three four five.", 0), ("One two three four five six.", 1), ("One - two - three - 4 ?", 0), ("", 0)]
)
def test_sentences_under_six_words_do_not_count(text: str, n: int) -> None:
    found = fingerprints([text, text])
    assert (len(found), found.dtype) == (n, np.dtype(np.uint64))


def test_any_text_has_fingerprints() -> None:
    assert len(fingerprints(["\ud800 is one half of a pair alone", "\0 \0", "word " * 100_000])) == 2
