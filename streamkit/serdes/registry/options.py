"""What the serdes of all three formats are told about subjects, versions and ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from streamkit.common.errors import UsageError

SubjectName = (
    Literal["topic", "record", "topic_record", "associated"]
    | Callable[[Any, str | None], str | None]
)
"""How a subject is named: `TOPIC-key` or `TOPIC-value`, the record's name, both, by what the
registry associates with the topic, or by a function of the serialization context and that name."""

_SUBJECTS = ("topic", "record", "topic_record", "associated")


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """The keyword arguments that the front doors share.

    With `auto_register` a schema is registered when it is first written; without it must be there.
    `use_latest` writes with the newest version of the subject and reads as that one; nothing is
    registered then. `id_in_header` puts the schema's GUID into the record's headers instead of its
    id in front of the bytes; state stores have the id in front either way, and both are read.
    """

    subject: SubjectName = "topic"
    auto_register: bool = True
    use_latest: bool = False
    normalize: bool = False
    id_in_header: bool = False

    def __post_init__(self) -> None:
        if not callable(self.subject) and self.subject not in _SUBJECTS:
            raise UsageError(
                f"subject={self.subject!r}: use one of {', '.join(_SUBJECTS)}, or a function"
            )

    def to_write(self) -> dict[str, Any]:
        """The configuration of a serializer, without where the id goes."""
        return {
            "auto.register.schemas": self.auto_register and not self.use_latest,
            "normalize.schemas": self.normalize,
            **self.to_read(),
        }

    def to_read(self) -> dict[str, Any]:
        """The configuration of a deserializer."""
        if callable(self.subject):
            named: dict[str, Any] = {"subject.name.strategy": self.subject}
        else:
            named = {"subject.name.strategy.type": self.subject.upper()}
        return {"use.latest.version": self.use_latest, **named}


def schema_text(schema: str | Mapping[str, Any], what: str) -> str:
    """A schema in JSON as text. Raises UsageError, which begins with `what`."""
    try:
        text = schema if isinstance(schema, str) else orjson.dumps(dict(schema)).decode()
        orjson.loads(text)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {schema!r:.80} is no schema: {error}") from None
    return text
