"""Training of the bundled Whisper: a few megabytes, a small vocabulary, synthetic speech.

The path of a clip: `grammar` (what is said) → `speech` (espeak-ng says it) → `channel` (rooms,
noise, codecs) → `clips` (shards of log-mel features) → `examples` (token sequences) → `network`
and `optimise` (learning) → `conversion` (a CTranslate2 folder) → `evaluate` (the real
faster-whisper reads held-out voices).
"""
