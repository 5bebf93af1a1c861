"""The root of all exceptions; `problems` has the tree. Apart from it for those who load quickly."""

from __future__ import annotations


class WindrowError(Exception):
    """The root of what Windrow raises on purpose."""
