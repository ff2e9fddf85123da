"""From tokens to phrases, from phrases to audio, from audio to the caller's ear."""
