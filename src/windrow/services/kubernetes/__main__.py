"""`python -m windrow.services.kubernetes [PROGRAM…]`: build the parts now, so that nobody waits for them later."""

from __future__ import annotations

import sys

from windrow.services.errors import ServiceError
from windrow.services.kubernetes import parts

if __name__ == "__main__":
    seldom = frozenset(parts.CONFORMANCE)
    try:
        found = parts.build(
            sys.argv[1:] or [name for name in parts.PROGRAMS if name not in seldom],
            lambda line: print(line, flush=True),  # noqa: T201
        )
    except (ServiceError, OSError) as error:
        sys.exit(f"error: {error}")
    for path in found.values():
        print(path)  # noqa: T201
