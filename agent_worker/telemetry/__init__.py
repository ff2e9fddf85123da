"""Where a turn's time went, and who is told."""
