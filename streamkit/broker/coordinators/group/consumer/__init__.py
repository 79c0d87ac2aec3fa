"""Consumer groups (KIP-848): state, heartbeat, target assignment, reconciliation, describe."""
