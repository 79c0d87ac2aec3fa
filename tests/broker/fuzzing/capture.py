"""Takes down what foreign clients say to a broker, by a proxy in between.

    python -m tests.broker.fuzzing.capture      writes captured_frames.txt anew

One line for each API, version and client: `client api version base64`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
import threading

import confluent_kafka
import kafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from kafka.admin import KafkaAdminClient

from streamkit.testing.broker import Broker
from tests.broker.fuzzing.captured import CAPTURED

FRAME_BYTES_MAX = 4096
HEADER = struct.Struct(">hh")


class Proxy:
    """Forwards connections to a broker and notes the frames that go there."""

    def __init__(self) -> None:
        self.client = ""
        self.frames: dict[tuple[str, int, int], bytes] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.target = 0

    def start(self, target: int) -> None:
        self.target = target
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            broker = socket.create_connection(("127.0.0.1", self.target))
            for source, sink, is_noted in ((client, broker, True), (broker, client, False)):
                threading.Thread(
                    target=self._pump, args=(source, sink, is_noted), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_noted: bool) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if is_noted:
                    held = self._note(held + data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _note(self, data: bytes) -> bytes:
        while len(data) >= 4:
            (size,) = struct.unpack_from(">i", data)
            if len(data) < 4 + size:
                break
            frame, data = data[4 : 4 + size], data[4 + size :]
            if size <= FRAME_BYTES_MAX:
                # The last of a kind: early requests are often empty.
                self.frames[(self.client, *HEADER.unpack_from(frame))] = frame
        return data


def drive_confluent(bootstrap: str) -> None:
    """librdkafka: producers, transactions, both group protocols, the admin client."""
    common = {"bootstrap.servers": bootstrap, "log_level": 0}
    admin = AdminClient(common)
    for made in admin.create_topics([NewTopic("in", 2, 1), NewTopic("out", 2, 1)]).values():
        made.result(20)
    producer = confluent_kafka.Producer({**common, "transactional.id": "captured"})
    producer.init_transactions(20)
    for protocol in ("classic", "consumer"):
        consumer = confluent_kafka.Consumer(
            {
                **common,
                "group.id": f"captured-{protocol}",
                "group.protocol": protocol,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        producer.begin_transaction()
        producer.produce("in", b"value", key=b"key", headers={"name": b"header"}, partition=0)
        producer.flush(20)
        consumer.subscribe(["in"])
        consumer.poll(5)
        metadata = consumer.consumer_group_metadata()
        with contextlib.suppress(confluent_kafka.KafkaException):
            producer.send_offsets_to_transaction([TopicPartition("in", 0, 1)], metadata, 20)
        producer.commit_transaction(20)
        with contextlib.suppress(confluent_kafka.KafkaException):
            consumer.commit(offsets=[TopicPartition("in", 1, 0)], asynchronous=False)
            consumer.committed([TopicPartition("in", 0)], 10)
        consumer.offsets_for_times([TopicPartition("in", 0, 1_000)], 10)
        consumer.close()
    _administer(admin)


def _administer(admin: AdminClient) -> None:
    resource = ConfigResource(ResourceType.TOPIC, "in")
    entry = ConfigEntry("retention.ms", "7000000", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, "in", incremental_configs=[entry])
    asked = [
        *admin.describe_configs([resource]).values(),
        *admin.incremental_alter_configs([changed]).values(),
        *admin.create_partitions([NewPartitions("out", 4)]).values(),
        *admin.describe_consumer_groups(["captured-classic", "captured-consumer"]).values(),
        *admin.list_offsets({TopicPartition("in", 0): OffsetSpec.max_timestamp()}).values(),
        *admin.delete_records([TopicPartition("in", 0, 1)]).values(),
        *admin.delete_consumer_groups(["captured-classic"]).values(),
        *admin.delete_topics(["out"]).values(),
        admin.describe_cluster(),
        admin.list_consumer_groups(),
    ]
    for future in asked:
        with contextlib.suppress(confluent_kafka.KafkaException):
            future.result(20)


def drive_kafka_python(bootstrap: str) -> None:
    """kafka-python: producer, group consumer, admin client."""
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, compression_type="gzip")
    producer.send("in", b"value", key=b"key").get(20)
    producer.close()
    consumer = kafka.KafkaConsumer(
        "in", bootstrap_servers=bootstrap, group_id="captured-py", auto_offset_reset="earliest"
    )
    consumer.poll(5000)
    consumer.commit()
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.list_topics()
    admin.describe_cluster()
    admin.close()


async def drive_aiokafka(bootstrap: str) -> None:
    """aiokafka: transactional producer, group consumer."""
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="captured-aio") as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait("in", b"value", key=b"key")
        await producer.send_offsets_to_transaction({AioPartition("in", 0): 1}, "captured-aio")
    async with AIOKafkaConsumer(
        "in", bootstrap_servers=bootstrap, group_id="captured-aio", auto_offset_reset="earliest"
    ) as consumer:
        await consumer.getone()
        await consumer.commit()


def main() -> None:
    """Drive each client once."""
    proxy = Proxy()
    config = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Broker(config=config, port=port):
        proxy.start(port)
        bootstrap = f"127.0.0.1:{proxy.port}"
        proxy.client = "librdkafka"
        drive_confluent(bootstrap)
        proxy.client = "kafka-python"
        drive_kafka_python(bootstrap)
        proxy.client = "aiokafka"
        asyncio.run(drive_aiokafka(bootstrap))
    lines = [
        f"{client} {api} {version} {base64.b64encode(frame).decode()}\n"
        for (client, api, version), frame in sorted(proxy.frames.items())
    ]
    CAPTURED.write_text("".join(lines))
    print(f"{len(lines)} frames")


if __name__ == "__main__":
    main()
