"""Which variant of the hot modules runs: compiled, or the same files interpreted."""

from __future__ import annotations

import click

from streamkit.records import is_compiled


def codec_variant() -> str:
    """For `--version`, `run` and benchmarks."""
    return "compiled" if is_compiled() else "interpreted"


def warn_if_interpreted() -> None:
    """One line to standard error when the hot modules are not compiled."""
    if not is_compiled():
        click.echo(
            "streamkit: warning: the hot modules run interpreted, several times slower; "
            "install a C compiler and reinstall streamkit",
            err=True,
        )
