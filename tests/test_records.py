"""The rows: frozen, and gold knows the day after."""

from __future__ import annotations

import dataclasses

import pytest

from stepladder.records import Case, CaseError, Completion, Evidence, Gold, Prediction, Prompt, UserError

OLD, NEW = Evidence("returns", "45 days"), Evidence("returns", "60 days")


def test_rows_are_frozen() -> None:
    for row in (Case("c1", "test", "Hi"), Gold("c1", {}), Prediction("c1", None, ""), Completion(""), Prompt("Hi", {})):
        with pytest.raises(dataclasses.FrozenInstanceError):
            row.text = "changed"  # type: ignore[attr-defined, misc]


def test_a_case_holds_no_answers() -> None:
    assert {field.name for field in dataclasses.fields(Case)} == {"case_id", "split", "text", "tags", "group_id"}


def test_prompt_tells_nothing_retrieved_from_nothing_found() -> None:
    assert Prompt("Hi", {}).passages is None
    assert Prompt("Hi", {}, passages=()).passages == ()


def test_gold_without_update_stays_the_same_object() -> None:
    gold = Gold("c1", {"answer": ["45 days"]}, ((OLD,),), rejected=("30 days",))
    assert gold.after_update() is gold


def test_after_update_the_old_answer_is_rejected() -> None:
    gold = Gold(
        "c1", {"intent": "returns", "answer": ["45 days", "six weeks"]}, ((OLD,),), {"answer": ["60 days"]}, ((NEW,),), ("30 days",)
    )
    later = gold.after_update()
    assert later.output == {"intent": "returns", "answer": ["60 days"]}
    assert later.evidence == ((NEW,),)
    assert later.rejected == ("30 days", "45 days", "six weeks")
    assert later.output_after_update is None
    assert later.evidence_after_update is None
    assert later.after_update() is later


def test_after_update_a_wording_that_has_become_right_is_not_rejected() -> None:
    gold = Gold("c1", {"answer": ["45 days"]}, (), {"answer": ["60 days", "45 days"]}, rejected=("60 days", "30 days"))
    assert gold.after_update().rejected == ("30 days",)


def test_after_update_an_answer_may_be_withdrawn_and_appear() -> None:
    gone = Gold("c1", {"answer": ["45 days"]}, ((OLD,),), {"answer": None}, ()).after_update()
    assert gone.output["answer"] is None
    assert gone.evidence == ()
    assert gone.rejected == ("45 days",)
    come = Gold("c1", {"answer": None}, (), {"answer": ["45 days"]}, ((OLD,),)).after_update()
    assert come.output["answer"] == ["45 days"]
    assert come.rejected == ()


def test_after_update_only_evidence_may_move() -> None:
    gold = Gold("c1", {"answer": ["45 days"]}, ((OLD,),), None, ((Evidence("policy"),),))
    later = gold.after_update()
    assert later.output == {"answer": ["45 days"]}
    assert later.evidence == ((Evidence("policy"),),)
    assert later.rejected == ()


def test_after_update_only_a_behaviour_field_may_change() -> None:
    later = Gold("c1", {"next_step": "decline", "answer": ["45 days"]}, ((OLD,),), {"next_step": "send"}).after_update()
    assert later.output == {"next_step": "send", "answer": ["45 days"]}
    assert later.evidence == ((OLD,),)


def test_user_errors_show_their_text_and_no_traceback() -> None:
    class LabelError(UserError):
        pass

    assert LabelError("found 3, expected 4")._render_traceback_() == ["LabelError: found 3, expected 4"]
    assert not issubclass(CaseError, UserError)
