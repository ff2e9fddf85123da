"""When a stage fails or hangs in a call: the caller is told, and it is tried again."""
