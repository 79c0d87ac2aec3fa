"""Word count: the first program, and a demo that runs it live over real text.

`streamkit run examples/word_count.py` runs the program on an embedded broker; this file itself is
the demo: it starts a broker and a worker, feeds the text of the standard library's language
reference again and again, and shows the top words while they are counted.
"""

from __future__ import annotations

import streamkit as sk

app = sk.App("word-count")

lines = app.topic("lines", key=str, value=str)
counts = app.topic("counts", key=str, value=int)

(
    app.stream(lines)
    .flat_map_values(str.split, value=str)
    .group_by(lambda _, word: word, key=str)
    .count(name="word-counts")
    .to_stream()
    .to(counts)
)

if __name__ == "__main__":
    from word_count_demo import main

    main()
