"""One call in its room: who is there, what they type, how long it lasts."""
