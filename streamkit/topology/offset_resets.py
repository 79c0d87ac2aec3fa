"""Where a source begins without a committed offset: "earliest", "latest", "none", "by_duration:…".

A duration is written as Java does (KIP-1106), `by_duration:PT1H`, or as elsewhere here,
`by_duration:1h`: the source begins with the first record that is no older than that.
"""

from __future__ import annotations

import re

from streamkit.common.errors import TopologyError
from streamkit.topology.dsl.windows import duration_ms

EARLIEST = "earliest"
_FIXED = (None, EARLIEST, "latest", "none")
_BY_DURATION = "by_duration:"
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,3})?)S)?)?", re.ASCII)
_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1_000)


def reset_or_raise(choice: str | None) -> str | None:
    """Check a choice. Raises TopologyError."""
    if choice in _FIXED:
        return choice
    if isinstance(choice, str) and choice.startswith(_BY_DURATION) and _age_ms(choice) is not None:
        return choice
    raise TopologyError(
        f"offset_reset={choice!r}: use earliest, latest, none, or by_duration:PT1H (also "
        "by_duration:1h)"
    )


def age_ms_of(reset: str) -> int | None:
    """How old the first record may be; None for another kind of reset."""
    return _age_ms(reset) if reset.startswith(_BY_DURATION) else None


def _age_ms(choice: str) -> int | None:
    text = choice.removeprefix(_BY_DURATION)
    found = _ISO.fullmatch(text)
    if found is not None and any(found.groups()):
        parts = zip(found.groups(), _UNITS_MS, strict=True)
        return round(sum(float(part) * unit for part, unit in parts if part))
    try:
        return duration_ms(text)
    except TopologyError:
        return None
