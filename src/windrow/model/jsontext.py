"""Reading JSON without the regular expressions of the standard library's reader, whose module takes longer to load than
a CNI call's configuration takes to read. What is no JSON the library refuses, in its words.
"""

from __future__ import annotations

import json
from typing import Any

_BLANK = " \t\n\r"


def loads(text: str | bytes, **hooks: Any) -> Any:
    """`json.loads`; `hooks`: `parse_constant` and the like. Raises ValueError, RecursionError."""
    try:
        plain = (text if isinstance(text, str) else text.decode()).strip(_BLANK)
        found, end = json.JSONDecoder(**hooks).raw_decode(plain)
        if end == len(plain):
            return found
    except ValueError:
        pass
    return json.loads(text, **hooks)
