"""Regular expressions of clients: RE2's, whose time grows with the text and not beyond."""

from __future__ import annotations

from collections.abc import Callable


def whole_matcher(pattern: str) -> Callable[[str], object]:
    """What tells whether a whole text matches. Raises ValueError with the reason."""
    # Loaded on first use: most clients name what they mean.
    import re2  # type: ignore[import-untyped]  # it brings no types

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(text) from error
    match: Callable[[str], object] = compiled.fullmatch
    return match
