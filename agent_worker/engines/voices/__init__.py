"""One file per voice engine; `voice_engine.py` says what such a file holds."""
