"""What goes wrong between us and an API server.

KubeError     no access, no answer, or the server's no: what was wanted, its words, what to do
└── Gone      what was asked for is too old to be known any more (410): ask anew
"""

from __future__ import annotations

from windrow.model.problems import WindrowError

TOO_MANY, SERVERS_FAULT = 429, 500


class KubeError(WindrowError):
    """`code`: of HTTP; 0 where there was no answer. `reason`: the server's word for it (`NotFound`, `Conflict`)."""

    def __init__(self, message: str, hint: str = "", *, code: int = 0, reason: str = "") -> None:
        self.message, self.hint, self.code, self.reason = message, hint, code, reason
        super().__init__(f"{message}\n    hint: {hint}" if hint else message)

    @property
    def passes(self) -> bool:
        """Whether it is no verdict on what was asked: the same may be answered in a moment."""
        return self.code in (0, TOO_MANY) or self.code >= SERVERS_FAULT


class Gone(KubeError):
    """410: the version that was named was compacted away."""
