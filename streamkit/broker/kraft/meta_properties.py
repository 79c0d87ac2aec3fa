"""meta.properties: whose data a directory holds (version 1).

A directory of another cluster or node is refused: its offsets, epochs and votes mean nothing
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from streamkit.broker.kraft.ids import id_text, parse_id
from streamkit.common.errors import UsageError
from streamkit.common.settings import parse_properties

FILE_NAME = "meta.properties"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class MetaProperties:
    """The cluster, the node, and the directory itself."""

    cluster_id: str
    node_id: int
    directory_id: UUID

    def encode(self) -> bytes:
        """The file's content."""
        pairs = (
            ("version", VERSION),
            ("cluster.id", self.cluster_id),
            ("node.id", str(self.node_id)),
            ("directory.id", id_text(self.directory_id)),
        )
        return "".join(f"{name}={value}\n" for name, value in pairs).encode()

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> MetaProperties:
        """Read the file. Raises UsageError when it is not one of version 1."""
        values = parse_properties(data.decode("utf-8", "replace"), where=where)
        if values.get("version") != VERSION:
            raise UsageError(f"{where} has version {values.get('version')!r}, not {VERSION}")
        try:
            directory_id = parse_id(values["directory.id"])
            if directory_id is None:
                raise ValueError("directory.id is zero")
            return cls(values["cluster.id"], int(values["node.id"]), directory_id)
        except (KeyError, ValueError) as error:
            raise UsageError(f"{where} is damaged: {error}") from None

    def check(self, cluster_id: str | None, node_id: int, *, where: str) -> None:
        """Raise UsageError when the directory belongs to another cluster or node."""
        if cluster_id is not None and cluster_id != self.cluster_id:
            raise UsageError(
                f"{where} belongs to cluster {self.cluster_id}, not {cluster_id}: "
                "use its cluster.id or another log.dirs"
            )
        if node_id != self.node_id:
            raise UsageError(
                f"{where} belongs to node {self.node_id}, not {node_id}: "
                "use its node.id or another log.dirs"
            )
