"""The graphs. Each module has `build(...)` and names its `SPEAKABLE_NODES`."""
