"""What a message asks: its questions, however they are put, and not those of an agent."""

from __future__ import annotations

import pytest

from stepladder.encoder.questions import asked, questions


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Parcel came today. Really nice! Do you sell spare poles", ["Do you sell spare poles"]),
        ("hi there!! parcel 4521 STILL not here. where is it", ["hi there!! parcel 4521 STILL not here. where is it"]),
        ("Thanks for the boots.\nhow much is shipping to skye pls\nCheers, Ann", ["how much is shipping to skye pls"]),
        ("I wondered whether hire includes pegs. No hurry.", ["I wondered whether hire includes pegs."]),
        ("My zip broke. Is it covered? And can i swap it for blue", ["Is it covered?", "And can i swap it for blue"]),
        ("order 4521 - any idea when it ships", ["order 4521 - any idea when it ships"]),
        ("Returns?", ["Returns?"]),
        ("Hi 🧗. (Is it true?) Yes", ["(Is it true?)"]),
        ("Just to say thanks, the boots are lovely. How nice you all were!", []),
        ("Please send my refund. I need a label.", []),
        ("What a mess you made of this", []),
        ("", []),
        (" \n ", []),
        ("\0", []),
    ],
)
def test_questions_are_the_sentences_that_ask(message: str, expected: list[str]) -> None:
    assert questions(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Customer: My pole snapped.\nAgent: Sorry! Which tent is it?\nIs it old?\nCustomer: The Fellside. Can I get a spare one",
            ["Can I get a spare one"],
        ),
        ("Agent: How can I help?\nCustomer: hello", []),
        ("Agent: How can I help?", []),
        ("Customer: Where is it?\nAgent: On its way. Anything else?", ["Customer: Where is it?"]),
        ("My Agent: who is it?", ["My Agent: who is it?"]),  # in the middle of a line nobody speaks
    ],
)
def test_what_an_agent_asks_is_left_out(message: str, expected: list[str]) -> None:
    assert questions(message) == expected


@pytest.mark.parametrize("message", ["Where's my parcel", "whats the cost of express", "When's the shop open"])
def test_drawn_together_words_ask_too(message: str) -> None:
    assert questions(message) == [message]


def test_what_is_asked_is_one_text() -> None:
    assert asked("My zip broke. Is it covered? And can i swap it for blue") == "Is it covered? And can i swap it for blue"
    assert asked("Thanks, all is well.") == ""
