"""The rows behind a table: where they are kept, who needs old values, how one is looked up.

Decided while a program is declared, as Kafka's KTableImpl does: an operator further down may make
a source keep its rows, or make an operator send old values on. Nodes read it when they are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from streamkit.topology.operators.node import ProcessorContext

Found = tuple[Any, int] | None
"""A row's value and its timestamp."""

Lookup = Callable[..., Any]
"""Gives the row of a key, a pair of value and timestamp, or None."""


@dataclass(frozen=True, slots=True)
class View:
    """How another operator reads a table: the stores it must be connected to, and the look-up.

    The look-up of a versioned table takes a time after the key, for the row as it was then.
    """

    stores: tuple[str, ...]
    open: Callable[[ProcessorContext], Lookup]
    is_versioned: bool = False


class Rows(Protocol):
    """What is behind one table."""

    sends_old: bool

    def want_old(self, *, force: bool) -> bool:
        """Ask for old values; `force` makes a source keep its rows for that."""

    def view(self) -> View:
        """How its rows are read; makes a source keep them."""


class SourceRows:
    """A topic, or a stream, read as a table: kept when it is named or somebody needs it."""

    def __init__(self, store: str, is_kept: bool, is_versioned: bool = False) -> None:
        self.store = store
        self.is_kept = is_kept
        self.is_versioned = is_versioned
        self.sends_old = False

    @property
    def kept_in(self) -> str | None:
        """The store's name; None while nobody needs one."""
        return self.store if self.is_kept else None

    def want_old(self, *, force: bool) -> bool:
        if not force and not self.is_kept:
            return False
        self.is_kept = self.sends_old = True
        return True

    def view(self) -> View:
        self.is_kept = True
        return view_of_store(self.store, self.is_versioned)


class StoredRows:
    """An aggregate: always kept."""

    def __init__(self, store: str, is_versioned: bool = False) -> None:
        self.store = store
        self.is_versioned = is_versioned
        self.sends_old = False

    def want_old(self, *, force: bool) -> bool:
        self.sends_old = True
        return True

    def view(self) -> View:
        return view_of_store(self.store, self.is_versioned)


class DerivedRows:
    """Rows computed from a parent's by `derive(key, row)`, kept only when they have a store."""

    def __init__(
        self,
        parent: Rows,
        store: str | None,
        derive: Callable[[Any, Any], Any],
        is_versioned: bool = False,
    ) -> None:
        self.parent = parent
        self.store = store
        self.is_versioned = is_versioned
        self.derive = derive
        self.sends_old = False

    def want_old(self, *, force: bool) -> bool:
        if self.store is not None or self.parent.want_old(force=force):
            self.sends_old = True
        return self.sends_old

    def view(self) -> View:
        if self.store is not None:
            return view_of_store(self.store, self.is_versioned)
        above, derive = self.parent.view(), self.derive

        def open_view(context: ProcessorContext) -> Lookup:
            find = above.open(context)
            return lambda key, *at: derive(key, find(key, *at))

        return View(above.stores, open_view, above.is_versioned)


def view_of_store(store: str, is_versioned: bool = False) -> View:
    """Rows as a store has them."""

    def open_view(context: ProcessorContext) -> Lookup:
        get: Lookup = context.store(store).get
        return get

    return View((store,), open_view, is_versioned)
