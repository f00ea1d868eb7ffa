"""Train, dev and test: seeded where the source has no split, and without copies across it where it has."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from stepladder.cache import content_hash
from stepladder.importers.draft import Draft, squeezed
from stepladder.importers.report import Report, short
from stepladder.records import Split

WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "development": "dev",
}  # fmt: skip
ORDER: tuple[Split, ...] = ("test", "dev", "train")
"""Where copies stay: a test case is worth most, and a copy of it in train would be cheating."""


def split_word(name: str) -> Split | None:
    """The one split that a name holds as a word.

    >>> split_word("oos_val"), split_word("train-v2.0"), split_word("latest"), split_word("train_test")
    ('dev', 'train', None, None)
    """
    found = {WORDS[word] for word in re.split(r"[^a-z]+", name.casefold()) if word in WORDS}
    return found.pop() if len(found) == 1 else None


def seeded(cases: Sequence[Draft], shares: tuple[float, float, float], seed: int) -> list[Draft]:
    """The cases with a split each: groups in the order of their hash with the seed fill test, then dev, then train.

    The order of the cases does not matter, and a group lies in one split. Each split with a share gets a group if there are
    enough of them, test first, so that few large groups (the articles of a SQuAD file) leave none empty.
    A row more or less may move other groups to another split.
    """
    sizes = Counter(case.group for case in cases)
    ranked = sorted(sizes, key=lambda group: content_hash(seed, group))
    train, dev, test = shares
    chosen: dict[str, Split] = {}
    before = 0
    for group in ranked:
        middle = (before + sizes[group] / 2) / len(cases)
        chosen[group] = "test" if middle < test else "dev" if middle < test + dev else "train"
        before += sizes[group]
    shared: tuple[tuple[Split, float], ...] = (("test", test), ("train", train), ("dev", dev))
    for split, share in shared:
        _fill(split, share, chosen)
    return [replace(case, split=chosen[case.group]) for case in cases]


def _fill(split: Split, share: float, chosen: dict[str, Split]) -> None:
    """Give an empty split that has a share the last group of the split with the most, if that one keeps any.

    Test, which no dataset can lack, also takes the only group there is.
    """
    counts = Counter(chosen.values())
    if not share or counts[split] or not counts:
        return
    richest, n_groups = counts.most_common(1)[0]
    if n_groups > 1 or split == "test":
        chosen[[group for group, its in chosen.items() if its == richest][-1]] = split


def without_copies(cases: Sequence[Draft], report: Report) -> list[Draft]:
    """The cases of a given split without those whose text stands in another split: the copy in test stays, then dev's.

    Texts are the same when only case and white space differ. Each copy is listed; copies in one split stay.
    """
    held: dict[str, dict[Split, Draft]] = defaultdict(dict)
    for case in cases:
        if case.split:
            held[squeezed(case.text)].setdefault(case.split, case)
    kept = []
    for case in cases:
        there = held[squeezed(case.text)]
        first = next(split for split in ORDER if split in there)
        if case.split == first:
            kept.append(case)
            continue
        other = there[first]
        same = "with the same label" if (case.output, case.evidence) == (other.output, other.evidence) else "with another label"
        exact = "" if case.text.strip() == other.text.strip() else ", but for case and spaces"
        report.leave_out(
            case.place, f"text of {case.split} stands in {first} too, {same}", f"as {other.place}{exact}: {short(case.text, 80)}"
        )
    return kept


def conflicts(cases: Sequence[Draft]) -> int:
    """How many texts stand more than once in one split with different labels; a label that is missing differs, too."""
    outputs: dict[tuple[Split | None, str], set[str]] = defaultdict(set)
    for case in cases:
        outputs[case.split, squeezed(case.text)].add(content_hash(case.output))
    return sum(len(different) > 1 for different in outputs.values())


def limited(cases: Sequence[Draft], limit: int, seed: int) -> list[Draft]:
    """At most `limit` cases of each split (0: all), chosen by hash with the seed, in the order of the file."""
    if not limit:
        return list(cases)
    kept: set[str] = set()
    for split in ORDER:
        ids = sorted((case.case_id for case in cases if case.split == split), key=lambda case_id: content_hash(seed, case_id))
        kept.update(ids[:limit])
    return [case for case in cases if case.case_id in kept]
