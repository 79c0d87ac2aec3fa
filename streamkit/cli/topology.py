"""`streamkit topology`: look at what a program compiles to."""

from __future__ import annotations

import click

from streamkit.cli import program as programs

FORMATS = ("text", "json", "mermaid", "dot")


@click.group(name="topology")
def command() -> None:
    """Look at a program's topology."""


@command.command()
@programs.argument
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
def describe(program: str, form: str) -> None:
    """Print the sub-topologies of PROGRAM; as text, exactly what Kafka Streams prints."""
    topology = programs.load(program).topology
    render = {
        "text": topology.describe,
        "json": topology.to_json,
        "mermaid": topology.to_mermaid,
        "dot": topology.to_dot,
    }
    text = render[form]()
    click.echo(text, nl=not text.endswith("\n"))
