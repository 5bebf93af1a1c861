"""A request to the lab's session that nobody sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Asked:
    """It keeps what is said, with the level and the detail of a check."""

    def __init__(self, **document: Any) -> None:
        self.document: Mapping[str, Any] = document
        self.said: list[str] = []

    def log(self, text: str, **more: Any) -> None:
        detail = more.get("check", {}).get("detail", "")
        self.said.append(f"{more.get('level', '')}: {text}: {detail}")
