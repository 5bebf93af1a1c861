"""What stands in place of a kernel in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windrow.netlink.kernel import Kernel

if TYPE_CHECKING:
    _Passed = Kernel
else:
    _Passed = object  # without methods of its own, so that `__getattr__` is asked for each


class StandIn(_Passed):
    """Passes everything on to `kernel` but what a subclass does itself: also what the engine does not ask yet.

    Only mypy takes it for a `Kernel`: what asks `isinstance` (`apps.site`) leaves it alone, as a `FakeKernel`.
    """

    def __init__(self, kernel: Any) -> None:
        """`kernel`: a `Kernel` or a `FakeKernel`."""
        self.kernel = kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kernel, name)
