"""Tuning: a few literal messages teach heads, spans, repeated answers; the same seed gives the same model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from stepladder import tuning
from stepladder.cache import Cache
from stepladder.records import Case, Gold, Passage, Prompt, UserError

SCHEMA = {
    "type": "object",
    "properties": {
        "matter": {"enum": ["late", "return"]},
        "urgent": {"type": "boolean"},
        "topics": {"type": "array", "items": {"enum": ["money", "parcel"]}},
        "order_id": {"type": ["string", "null"], "pattern": "^[0-9]{4,6}$"},
        "answer": {"type": ["string", "null"]},
        "sources": {"type": "array", "items": {"type": "string"}},
    },
}
MESSAGES = [
    ("Where is my parcel, order 4521? It should have been here last week!", "late", True, ["parcel"], "4521", None),
    ("Still no delivery of order 88112, I am waiting and waiting.", "late", True, ["parcel"], "88112", None),
    ("My parcel 7731 has not arrived, please hurry.", "late", True, ["parcel"], "7731", None),
    ("I would like to send these boots back, how long do I have?", "return", False, ["money"], None, ["45 days"]),
    ("Can the jacket from order 5050 go back for my money?", "return", False, ["money"], "5050", None),
    ("These gloves do not fit, I want to return them and get a refund.", "return", False, ["money"], None, None),
]
CASES = [Case(f"c{i}", "train", text) for i, (text, *_) in enumerate(MESSAGES)]
GOLD = {
    f"c{i}": Gold(f"c{i}", {"matter": m, "urgent": u, "topics": t, "order_id": o, "answer": a})
    for i, (_, m, u, t, o, a) in enumerate(MESSAGES)
}
SETTINGS = tuning.TuningSettings(epochs=10, min_steps=30, batch=6)
RETURNS = Passage("returns#1", "returns", "Returns", "", "policy", "Returns are free. Goods may come back within 45 days.", 0, 50, 0.7)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("tuning"))


@pytest.fixture(scope="module")
def tuned(cache: Cache) -> tuning.TunedModel:
    return tuning.train_or_load(CASES, GOLD, SCHEMA, SETTINGS, cache=cache)


def ask(model: tuning.TunedModel, message: str, **more: object) -> dict[str, object]:
    prompt = replace(Prompt(message, SCHEMA), **more)
    output = json.loads(model.complete([prompt])[0].text)
    assert list(output) == list(SCHEMA["properties"])
    return output


def test_it_has_learned_its_train_cases(tuned: tuning.TunedModel) -> None:
    for text, matter, urgent, topics, order_id, _ in MESSAGES:
        output = ask(tuned, text)
        assert (output["matter"], output["urgent"], output["topics"], output["order_id"]) == (matter, urgent, topics, order_id)


def test_it_generalises_to_a_like_message(tuned: tuning.TunedModel) -> None:
    assert ask(tuned, "order 9090 still has not arrived, where is my parcel")["matter"] == "late"
    assert ask(tuned, "order 9090 still has not arrived, where is my parcel")["order_id"] == "9090"


def test_without_passages_it_repeats_what_was_taught_or_abstains(tuned: tuning.TunedModel) -> None:
    taught = ask(tuned, MESSAGES[3][0], abstain_below=0.9)
    assert (taught["answer"], taught["sources"]) == ("45 days", [])
    assert ask(tuned, "Which colour is the tent?", abstain_below=0.9)["answer"] is None


def test_with_passages_it_answers_with_a_sentence_and_its_source(cache: Cache) -> None:
    gold = GOLD | {"c3": replace(GOLD["c3"], evidence=())}
    passages = {case.case_id: [RETURNS] for case in CASES}
    reader = tuning.train_or_load(CASES, gold, SCHEMA, SETTINGS, passages, cache=cache)
    output = ask(reader, MESSAGES[3][0], passages=(RETURNS,), abstain_below=0.0)
    assert output["answer"] in ("Returns are free.", "Goods may come back within 45 days.")
    assert output["sources"] == ["returns"]
    assert ask(reader, MESSAGES[3][0], passages=(), abstain_below=0.0)["answer"] is None


def test_the_same_seed_gives_the_same_weights(tuned: tuning.TunedModel, cache: Cache, tmp_path: Path) -> None:
    again = tuning.train_or_load(CASES, GOLD, SCHEMA, SETTINGS, cache=Cache(tmp_path))
    assert again.key == tuned.key
    first, second = (folder / "tuned" / tuned.key / "tuned.safetensors" for folder in (cache.folder, tmp_path))
    assert first.read_bytes() == second.read_bytes()
    assert not any("embeddings" in name for name in load_file(first)), "only what was learned is kept"


def test_it_is_tuned_once(tuned: tuning.TunedModel, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.tuning.model.train", lambda *_: pytest.fail("trained again"))
    assert tuning.train_or_load(CASES, GOLD, SCHEMA, SETTINGS, cache=cache).plan.seconds == tuned.plan.seconds


@pytest.mark.parametrize("change", ["seed", "label", "setting", "passages"])
def test_another_seed_label_setting_or_passage_is_another_model(tuned: tuning.TunedModel, cache: Cache, change: str) -> None:
    gold = GOLD | {"c0": Gold("c0", GOLD["c0"].output | {"matter": "return"})} if change == "label" else GOLD
    settings = replace(SETTINGS, min_steps=2, epochs=1) if change == "setting" else SETTINGS
    passages = {case.case_id: [] for case in CASES} if change == "passages" else None
    made = tuning.train_or_load(CASES, gold, SCHEMA, settings, passages, seed=int(change == "seed"), cache=cache)
    assert made.key != tuned.key


def test_what_is_not_labelled_is_filled_as_untuned(cache: Cache) -> None:
    gold = {i: Gold(i, {"matter": row.output["matter"]}) for i, row in GOLD.items()}
    model = tuning.train_or_load(CASES, gold, SCHEMA, replace(SETTINGS, min_steps=2, epochs=1), cache=cache)
    assert list(model.plan.choices) == ["matter"]
    assert ask(model, "My order 4521 is late")["order_id"] == "4521"


def test_one_case_is_enough_to_run(cache: Cache) -> None:
    model = tuning.train_or_load(CASES[:1], GOLD, SCHEMA, replace(SETTINGS, min_steps=2, epochs=1), cache=cache)
    assert model.plan.n_examples == 1
    ask(model, "anything")


def test_no_labelled_case_is_an_error(cache: Cache) -> None:
    with pytest.raises(UserError, match="no labelled train cases"):
        tuning.train_or_load(CASES, {}, SCHEMA, SETTINGS, cache=cache)


def test_a_model_that_is_gone_is_an_error(cache: Cache) -> None:
    with pytest.raises(UserError, match="no tuned model 0123"):
        tuning.load("0123", cache)


def test_nothing_half_made_is_left(tuned: tuning.TunedModel, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepladder.tuning.model.save_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tuning.train_or_load(CASES[:2], GOLD, SCHEMA, replace(SETTINGS, min_steps=2, epochs=1), cache=cache)
    assert not [path for path in (cache.folder / "tuned").iterdir() if path.name.startswith(".")]
    assert not list(cache.folder.rglob("*.bin"))
    assert not list(cache.folder.rglob("*.pkl"))
