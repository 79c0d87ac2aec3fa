"""The asyncio shell that both ends share: listen for frames, dial a broker, TLS."""
