"""The tools that graphs offer to their model.

A tool that changes something outside the conversation carries
`metadata={"side_effects": True}`; `flows.gate` holds such a call back until the caller's turn
is committed. Results are short JSON, which any model reads and any language can phrase.
"""
