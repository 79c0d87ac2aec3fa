"""`docs/apis.md` says what the code serves."""

from __future__ import annotations

from streamkit.broker.handlers import SERVED
from streamkit.protocol.apis import VERSIONS
from tests.apis_table import NOTES, PATH, REASONS, table


def test_the_table_of_apis_is_current() -> None:
    assert PATH.read_text() == table(), "run `python -m tests.apis_table`"


def test_every_api_that_is_not_served_has_a_reason() -> None:
    assert set(VERSIONS) - set(SERVED) <= set(REASONS)
    assert set(NOTES) <= set(VERSIONS)
