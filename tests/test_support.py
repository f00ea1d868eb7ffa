"""The shared dataset keeps its promises: sizes, slices, clean splits, hardness on dev, nobody real."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from stepladder import audit, card, comparison, dataset, labels, personal_data, readme
from stepladder.dataset import Dataset
from stepladder.encoder import Encoder

DATA = Path(__file__).parents[1] / "data"
SUPPORT = DATA / "support"
IN_TEST = {
    "unanswerable": 45, "two_documents": 40, "changed": 60, "taught": 40, "number": 40, "policy_decides": 60, "jargon": 30, "edge": 40,
    "draft_trap": 25, "injection": 15, "injected_document": 10, "paraphrase": 30,
}  # fmt: skip
REAL = """
    north face, patagonia, arc'teryx, garmin, petzl, black diamond, salomon, mammut, berghaus, decathlon, cotswold outdoor, rei, msr,
    jetboil, primus, therm-a-rest, gore-tex, goretex, velcro, primaloft, vibram, royal mail, dpd, evri, hermes, fedex, dhl, amazon,
    ebay, paypal, klarna, trustpilot, facebook, instagram, whatsapp, tiktok, youtube, strava, komoot
"""


@pytest.fixture(scope="module")
def support() -> Dataset:
    return dataset.load(SUPPORT)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SUPPORT / file).read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    """Words in lower case, every number masked."""
    return re.findall(r"[^\W\d_]+|0", re.sub(r"\d+", "0", text.casefold()))


def plain(text: str) -> str:
    """The text in lower case, words and numbers apart by one space, with one at either end."""
    return " " + " ".join(re.findall(r"[£$€]?[0-9][0-9.,]*[0-9]|[£$€]?[0-9]|[^\W\d_]+", text.casefold())) + " "


def test_documents_and_updates(support: Dataset) -> None:
    statuses = Counter(document.status for document in support.documents)
    assert len(support.documents) >= 160
    assert statuses["draft"] >= 12
    assert statuses["archived"] >= 15
    assert {d.kind for d in support.documents} == {"policy", "product", "help", "ticket"}
    assert all(80 <= len(d.text.split()) <= 600 for d in support.documents), "words of a document"
    updates = card.updates(support)
    assert len(support.updates) >= 50
    assert updates["add one"] >= 10
    assert updates["delete one"] >= 5


def test_cases_and_slices(support: Dataset) -> None:
    assert {split: len(support.cases(split)) for split in dataset.SPLITS} == {"train": 500, "dev": 100, "test": 300}
    tags = Counter(tag for case in support.cases("test") for tag in case.tags)
    assert {tag: n for tag, n in IN_TEST.items() if tags[tag] < n} == {}
    assert sum({"changed", "taught"} <= set(case.tags) for case in support.cases("test")) >= 40
    assert sum("other_language" in case.tags for case in support.all_cases) >= 10
    kinds = Counter(tag for case in support.all_cases for tag in case.tags if tag in ("question", "complaint", "both"))
    shares = {kind: n / len(support.all_cases) for kind, n in kinds.items()}
    assert sum(kinds.values()) == 900
    assert shares == pytest.approx({"question": 0.35, "complaint": 0.25, "both": 0.40}, abs=0.04)


def test_paraphrases_come_in_threes(support: Dataset) -> None:
    groups = Counter(case.group_id for case in support.cases("test") if "paraphrase" in case.tags)
    assert sum(n == 3 for n in groups.values()) >= 10


def test_every_field_of_every_case_is_labelled(support: Dataset) -> None:
    fields = {name for name in support.schema["properties"] if name != "sources"}
    assert set(support.gold) == {case.case_id for case in support.all_cases}
    assert all(set(row.output) == fields for row in support.gold.values())


def test_tags_and_gold_agree(support: Dataset) -> None:
    for case in support.all_cases:
        gold, tags = support.gold[case.case_id], set(case.tags)
        assert ("changed" in tags) == (case.case_id in support.changed_ids()), case.case_id
        assert "unanswerable" not in tags or gold.output["answer"] is None, case.case_id
        assert "complaint" not in tags or gold.output["answer"] is None, case.case_id
        assert "draft_trap" not in tags or gold.rejected or gold.output["answer"] is None, case.case_id
        assert gold.output["answer"] is None or gold.evidence, case.case_id


def test_every_value_is_frequent_enough(support: Dataset) -> None:
    table = audit.balance(support)
    assert table[table["thin"] != ""][["field", "value", "train", "test"]].to_dict("records") == []


def test_evidence_is_published(support: Dataset) -> None:
    published = {document.doc_id for document in support.documents if document.status == "published"}
    for row in support.gold.values():
        assert all(e.doc_id in published for item in row.evidence for e in item), row.case_id


def test_a_fact_is_asked_in_one_split_or_declared_as_taught(support: Dataset) -> None:
    """A quote that holds the answer belongs to one split; rules that decide a next step occur in all."""
    owners: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in support.all_cases:
        gold = support.gold[case.case_id]
        wordings = [plain(w) for w in gold.output["answer"] or []]
        for item in gold.evidence:
            for evidence in item:
                quote = plain(evidence.quote or "")
                if "taught" not in case.tags and any(w in quote for w in wordings):
                    owners[evidence.doc_id, quote][case.split].add(case.case_id)
    assert {quote: dict(splits) for quote, splits in owners.items() if len(splits) > 1} == {}


def test_no_near_duplicate_straddles_the_splits(support: Dataset, encoder: Encoder) -> None:
    pairs = audit.near_duplicates(support.all_cases, encoder)
    assert pairs.loc[pairs["declared"] == "", ["case_id", "other_case_id", "containment", "cosine"]].to_dict("records") == []


def test_no_skeleton_serves_more_than_three_messages(support: Dataset) -> None:
    """A skeleton: eight words in a row, numbers masked. What an injection copies of another is an attack, not a message."""
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for case in support.all_cases:
        text = words(case.text)
        for i in range(len(text) - 7):
            seen[tuple(text[i : i + 8])].add(case.case_id)
    assert {" ".join(run): ids for run, ids in seen.items() if len(ids) > 3} == {}


def test_nobody_real_is_named(support: Dataset) -> None:
    texts = [case.text for case in support.all_cases] + [f"{d.title} {d.text}" for d in support.documents]
    names = [name.strip() for name in REAL.replace("\n", " ").split(",")]
    found = [name for name in names if any(re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE) for text in texts)]
    assert found == []
    assert personal_data.find(support)["found"].tolist() == []


def test_hard_enough_on_dev(support: Dataset, encoder: Encoder) -> None:
    hard = card.hardness(support, encoder)
    assert hard["intent by TF-IDF"] < 0.80
    assert 0.45 <= hard["BM25 first"] <= 0.80
    assert hard["best constant"] <= 0.15


def test_the_second_pass_was_blind_to_nothing_less_than_120_cases(support: Dataset) -> None:
    second = labels.second_labels(support)
    assert len(second) >= 120
    assert set(second) <= {case.case_id for case in support.cases("test")}
    agreement = labels.agreement(support).set_index("field")
    assert support.brief.success.target <= agreement.loc["all required fields", "high"], "a target above what two passes agree on"
    settled = {(row["case_id"], row["field"]): row for row in rows(labels.SETTLED)}
    differ = {(row["case_id"], row["field"]) for row in labels.disagreements(support).to_dict("records")}
    assert differ == set(settled), "each disagreement is settled and listed"
    for (case_id, field), row in settled.items():
        assert support.gold[case_id].output[field] == row["settled"]
        assert row["why"].strip()


def test_the_margin_is_detectable(support: Dataset) -> None:
    smallest = comparison.smallest_difference(len(support.cases("test")), 0.2)
    assert smallest is not None
    assert support.brief.margin >= smallest - 0.005


def test_secrets_stand_in_one_train_message_each(support: Dataset) -> None:
    canaries = rows("canaries.jsonl")
    texts = {case.case_id: case.text for case in support.all_cases}
    train = {case.case_id for case in support.cases("train")}
    assert len(canaries) == 12
    assert len({row["secret"] for row in canaries}) == len({row["case_id"] for row in canaries}) == 12
    for row in canaries:
        assert row["case_id"] in train
        assert [i for i, text in texts.items() if row["secret"] in text] == [row["case_id"]]
        assert row["secret"] in row["sentence"]
        assert row["sentence"] in texts[row["case_id"]]
    everything = "".join(d.text for d in support.documents) + json.dumps([row.output for row in support.gold.values()])
    assert not any(row["secret"] in everything for row in canaries)


def test_voice(support: Dataset) -> None:
    pairs, scored = rows("voice.jsonl"), rows("voice_labels.jsonl")
    assert Counter(row["split"] for row in pairs) == {"train": 120, "dev": 30, "test": 50}
    assert Counter(row["in_voice"] for row in scored) == {True: 40, False: 40}
    for row in pairs:
        assert set(re.findall(r"\d[\d.,]*\d|\d", row["plain"])) == set(re.findall(r"\d[\d.,]*\d|\d", row["voice"])), row["voice_id"]
    replies = [" ".join(words(row["voice"])) for row in pairs] + [" ".join(words(row["reply"])) for row in scored]
    assert len(set(replies)) == 280
    assert 300 <= len((SUPPORT / "voice_guide.md").read_text(encoding="utf-8").split()) <= 700


def test_traffic_has_a_long_tail(support: Dataset) -> None:
    counts = {kind: {row["id"]: row["monthly"] for row in rows("traffic.jsonl") if row["kind"] == kind} for kind in ("intent", "document")}
    assert set(counts["intent"]) == set(support.schema["properties"]["intent"]["enum"])
    assert set(counts["document"]) == {d.doc_id for d in support.documents if d.status == "published"}
    for some in counts.values():
        ordered = sorted(some.values(), reverse=True)
        assert sum(ordered[: max(1, len(ordered) // 5)]) > 0.4 * sum(ordered), "the head fifth"
        assert min(ordered) > 0
    assert sum(counts["intent"].values()) == support.brief.monthly_cases


def test_the_card_shows_what_is_there() -> None:
    text = (DATA / "README.md").read_text(encoding="utf-8")
    assert "<!-- card -->" in text
    assert readme.renewed_card(text, SUPPORT) == text, "run: stepladder readme"
