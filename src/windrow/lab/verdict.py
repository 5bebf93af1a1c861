"""What a check of a scenario comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Verdict = tuple[bool, str, Mapping[str, Any]]
"""Fine or not, in words, in numbers."""
