"""The wire protocol: which APIs and versions, messages, framing, negotiation and SASL; no I/O.

Messages come from kio and load on first use; see `messages`.
"""
