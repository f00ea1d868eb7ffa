"""update: 1 % of 100,000 passages changed, beside making the whole index again without a cache."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import PreparedEncoder, aim, clustered, done, folder, graph_of, options, seconds_of, support, table

from stepladder.cache import Cache
from stepladder.encoder.vectors import embed
from stepladder.records import Document, Passage
from stepladder.search import SearchIndex, SearchSettings, chunk
from stepladder.search.graph import EXACT_BELOW

TITLE = "Page {}"
MAX_TOKENS = 110  # below the 120 of the search, so that a page stays one passage


def real_texts() -> list[str]:
    return [p.text for d in support().documents for p in chunk(d, MAX_TOKENS)]


def page(number: int, text: str) -> Document:
    return Document(str(number), TITLE.format(number), "", "policy", "published", "2026-01-02", text)


def as_embedded(document: Document) -> str:
    return Passage("", document.doc_id, document.title, "", "", document.text, 0, 0).headed


def main() -> None:
    quick = options(__doc__).quick
    n, n_embedded = (2_000, 50) if quick else (100_000, 2_000)
    texts, vectors = real_texts(), clustered(n, seed=0)
    before = [page(i, texts[i % len(texts)]) for i in range(n)]
    changed = np.random.default_rng(3).choice(n, size=n // 100, replace=False).tolist()
    after = list(before)
    for i in changed:
        after[i] = replace(before[i], text=f"New since today. {texts[(i + 1) % len(texts)]}", updated_at="2026-01-03")

    with folder() as left, tempfile.TemporaryDirectory() as cache:
        encoder = PreparedEncoder(Cache(Path(cache)), [as_embedded(d) for d in before], vectors)
        sample = [as_embedded(before[i]) for i in np.random.default_rng(4).choice(n, size=n_embedded, replace=False)]
        embed(sample[:: len(sample) // 50], encoder.arithmetic)  # loading is not timed
        embedding = seconds_of(lambda: embed(sample, encoder.arithmetic)) / n_embedded * n
        made: list[SearchIndex] = []
        # The graph is timed by itself, because it may have been built by an earlier script of this run
        cutting = seconds_of(lambda: made.append(SearchIndex(before, encoder, SearchSettings(graph=False))))
        graph, building = graph_of(vectors, left) if n >= EXACT_BELOW else (None, 0.0)
        index = made[0]
        index.settings, index.graph = SearchSettings(), graph
        assert len(index.passages) == n
        spent = seconds_of(lambda: index.update(after))
        where = {"doc_id": [str(changed[0])]}
        new = after[changed[0]].text
        assert [p.text for p in index.search(new, k=1, where=where)] == [new]

    whole = embedding + cutting + building
    table(
        f"{n:,} passages of {np.mean([len(text.split()) for text in texts]):.0f} words on average, {len(changed):,} of them changed",
        ["", "s", "share"],
        [
            ["rebuild: embed, extrapolated from " + f"{n_embedded:,} texts", f"{embedding:.1f}", f"{embedding / whole:.1%}"],
            ["rebuild: cut, store, index the words", f"{cutting:.1f}", f"{cutting / whole:.1%}"],
            ["rebuild: graph", f"{building:.1f}", f"{building / whole:.1%}"],
            ["rebuild, in all", f"{whole:.1f}", "100.0%"],
            ["SearchIndex.update, in all", f"{spent:.1f}", f"{spent / whole:.1%}"],
        ],
    )
    aim("an update takes, of a rebuild,", 100 * spent / whole, at_most=5.0, form=".1f", unit=" %")
    done()


if __name__ == "__main__":
    main()
