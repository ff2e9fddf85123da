"""XTTS in a process of its own, spoken to over its standard input and output.

This package is imported from two sides: the worker uses `frames`, and the process, which may run
on another Python with torch in it, uses all of it. So it imports nothing of LiveKit.

Messages are frames (see `frames`): a JSON object, and bytes where there is audio.

To the process:

- `load`: once, first. `model_dir`, `model_factory`, `device`, `use_deepspeed`.
- `synthesize`: `id`, `text`, `language`, `voice`, `settings`.
- `prepare`: `id`, `voice`. Computes what the voice needs, so that the first sentence does not wait.
- `cancel`: `id`. Heard at once, also while the model is at work.
- The end of the input is the end of the process.

From the process:

- `ready`, or `failed` with `message` and `retryable`, in answer to `load`.
- `started`: `id`; the model works on it now.
- `audio`: `id`, and 16-bit mono samples at 24 kHz, at most 4 KB of them.
- `done`, `cancelled`, or `error` with `message` and `retryable`: `id`; nothing more comes for it.

A `voice` is `{"speaker": name}` for a voice of the model's own, or `{"path": ..., "sha256": ...}`
for a recording.
"""
