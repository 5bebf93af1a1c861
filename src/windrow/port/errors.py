"""What a CNI plugin answers when it cannot: the error of the specification, §Error.

CniError    code, message, details; one JSON object on standard output, and exit code 1
"""

from __future__ import annotations

from windrow.model.errors import WindrowError

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
UNDECODABLE = 6
INVALID_CONFIG = 7
SAME_NAMESPACE = 8
TRY_AGAIN = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51
KERNEL_REFUSED = 101
"""A request that the kernel refused; `details` has its errno by name and its extended ACK."""
IN_THE_WAY = 102
"""Something is there that must not be: the interface, a link of another kind, a duplicate MAC address."""
MISSING = 103
"""Something is not there that must be: the network namespace, the bridge of a cluster network, a NAD."""
DELEGATE_FAILED = 104
"""A plugin that was called for it (IPAM, a delegate) failed, or printed what is no result."""
FORBIDDEN = 105
"""Namespace isolation, an allow-list."""
CHANGED = 106
"""CHECK: a port is not what it was made."""


class CniError(WindrowError):
    """`code`: one of the above, those of a delegate are passed on; `details`: what helps to find the cause."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        self.code, self.message, self.details = code, message, details
        super().__init__(f"{message}: {details}" if details else message)

    def to_json(self, version: str = "") -> dict[str, object]:
        """The document on standard output; `version`: the configuration's, where it could be read."""
        document: dict[str, object] = {"cniVersion": version} if version else {}
        document |= {"code": self.code, "msg": self.message}
        return document | ({"details": self.details} if self.details else {})
