"""What looks like personal data in messages and documents."""

from __future__ import annotations

import re

import pandas as pd

from stepladder.dataset import Dataset

_MAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[a-zA-Z]{2,24}\b")
_CARD = re.compile(r"(?<![\d#])(?:\d[ -]?){12,18}\d(?!\d)")
_PHONE = re.compile(r"(?<![\w£$€#.])(?:\+\d{1,3}[ -]?\(?\d|\(?0\d)(?:[ -]?\(?\d\)?){7,10}(?!\w)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_INVENTED = re.compile(r"@([\w-]+\.)*(example(\.(com|org|net))?|test|invalid)$|^\(?(\+44 ?\(?|0)0?\)?(1632|7700 ?900)|555-?01\d\d")


def find(folder: Dataset) -> pd.DataFrame:
    """Mail addresses, card, bank account and phone numbers in messages and documents, for the owner to decide on.

    Cards must pass Luhn's check and accounts the one of ISO 13616. Addresses and numbers that are reserved for
    examples (RFC 2606; Ofcom's drama numbers; 555-01xx) are left out. Half of each find is masked.
    """
    places = [("cases.jsonl", case.case_id, case.text) for case in folder.all_cases]
    places += [("documents.jsonl", document.doc_id, document.text) for document in folder.documents]
    kinds = {"bank account": (_IBAN, _iban), "card": (_CARD, _luhn), "mail": (_MAIL, None), "phone": (_PHONE, None)}
    rows = []
    for file, place, text in places:
        seen: set[str] = set()
        for kind, (pattern, valid) in kinds.items():
            for found in pattern.findall(text):
                digits = re.sub(r"\W", "", found)
                if (valid and not valid(digits)) or _INVENTED.search(found) or any(digits in other for other in seen):
                    continue
                seen.add(digits)
                rows.append((kind, file, place, found[: len(found) // 2] + "…"))
    return pd.DataFrame(rows, columns=["kind", "file", "id", "found"]).sort_values(["kind", "file", "id"], ignore_index=True)


def _luhn(digits: str) -> bool:
    """
    >>> _luhn("4111111111111111"), _luhn("4111111111111112")
    (True, False)
    """
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _iban(text: str) -> bool:
    """
    >>> _iban("GB82WEST12345698765432"), _iban("GB82WEST12345698765433")
    (True, False)
    """
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1
