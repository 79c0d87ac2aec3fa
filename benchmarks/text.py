"""The text that is counted: the standard library's language reference, as often as asked."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

MEGABYTE = 1_000_000


@cache
def lines() -> tuple[str, ...]:
    """The lines of the text once, 0.75 MB."""
    spec = importlib.util.find_spec("pydoc_data.topics")
    assert spec is not None and spec.origin is not None, "the standard library is not complete"
    text = Path(spec.origin).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip())


@cache
def size_bytes() -> int:
    """UTF-8 bytes of the lines once, without line ends."""
    return sum(len(line.encode()) for line in lines())


def repeats_for(megabytes: float) -> int:
    """How often the text is needed for at least so many megabytes."""
    return max(1, -(-int(megabytes * MEGABYTE) // size_bytes()))


def repeated(times: int) -> Iterator[str]:
    """The lines, `times` over."""
    for _ in range(times):
        yield from lines()


def counts(times: int) -> Counter[str]:
    """The true counts over `times` repetitions."""
    once = Counter(word for line in lines() for word in line.split())
    return Counter({word: count * times for word, count in once.items()})
