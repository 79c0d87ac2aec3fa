"""Serdes whose schemas are kept in a registry: Avro, Protobuf and JSON Schema.

The bytes are Confluent's wire format; confluent-kafka's serializers write and read them. Only this
package of the serdes waits for anything: at the first use of a schema the registry is asked over
HTTP, on the thread that processes records, and the answer is kept.
"""
