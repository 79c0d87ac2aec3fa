"""The transaction coordinator: who writes under a transactional id, and how it ends."""
