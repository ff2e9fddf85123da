"""Events as they go over the wire: JSON objects whose `type` tells what they are."""

import json
from typing import Any

Event = dict[str, Any]
"""One server-sent event; `type` tells which. `graph_speech.wire` has them all, but for `done`,
which the turn itself makes."""

_LINE_ENDS = str.maketrans({end: f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"})


def one_line(data: Any) -> bytes:
    """`data` as JSON on one line, whatever the reader takes for the end of one.

    Only CR and LF end a line of server-sent events, but many readers also split where Python's
    `splitlines` does, and these three may stand in a JSON string as they are.
    """
    text = json.dumps(data, ensure_ascii=False, default=str).translate(_LINE_ENDS)
    # A model may break off within a surrogate pair.
    return text.encode(errors="replace")
