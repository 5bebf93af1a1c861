"""What does not work at the moment, and why: said when it begins, and when it is over."""

from __future__ import annotations


class Troubles:
    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def noted(self, what: str, why: str) -> bool:
        """Whether that is news. An empty `why`: it works."""
        if self.why(what) == why:
            return False
        if why:
            self._why[what] = why
        else:
            del self._why[what]
        return True

    def why(self, what: str) -> str:
        """Empty: it works."""
        return self._why.get(what, "")

    def words(self) -> str:
        """Each once: an API that is down is down for all kinds. Empty: all works."""
        return "; ".join(dict.fromkeys(self._why.values()))
