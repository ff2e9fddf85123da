"""Who gets an agent: that each caller has one, only one, and keeps it."""
