"""KRaft: the quorum that keeps the metadata log, and the controller that writes it."""
