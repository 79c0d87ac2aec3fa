"""What the record being processed has changed, entry by entry, so that it can be undone.

Whoever changes what a failed record must not leave behind adds a function and its arguments that
undo the change. Entries are undone last first, so each finds things as it left them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Entry = tuple[Callable[..., object], tuple[Any, ...]]

Journal = list[Entry]


def undo(journal: Journal, mark: int = 0) -> None:
    """Undo what was noted since the journal had `mark` entries."""
    while len(journal) > mark:
        function, arguments = journal.pop()
        function(*arguments)
