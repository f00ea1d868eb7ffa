"""Addresses and numbers that may be a person's, and those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepladder import personal_data
from stepladder.dataset import Brief, Dataset
from stepladder.records import Case


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to anna.smith@mail.co.uk", ["mail"]),
        ("write to anna@brindlefell.example or a@example.com", []),
        ("my card 4111 1111 1111 1111 was charged", ["card"]),
        ("tracking 4111111111111112, order 45210", []),
        ("IBAN GB82 WEST 1234 5698 7654 32", ["bank account"]),
        ("call me on 0113 496 0735", ["phone"]),
        ("call me on (01632) 960 118, 01632 960118, +44 7700 900 123 or 07700 900 123", []),
        ("+49 30 12345678", ["phone"]),
        ("it cost £1,250.00 in 2024, weighs 0.310 kg and article 0041", []),
        ("order 0123456", []),
    ],
)
def test_personal_data(text: str, kinds: list[str], tmp_path: Path) -> None:
    found = personal_data.find(Dataset(tmp_path, (), (), (Case("a", "test", text),), {}, {}, Brief(), ""))
    assert found["kind"].tolist() == kinds
    assert all(shown.endswith("…") and shown[:-1] in text for shown in found["found"]), "half of it stays hidden"
