"""What our voices have in common, whatever engine or server makes the sound.

`livekit.plugins.espeak`, `piper`, `kokoro`, `xtts` and `speech_api` are built on it. It is no
plugin: nothing is registered with LiveKit, and it knows neither an engine nor the plugins that use
it.
"""
