"""A module of the standard library that is loaded when somebody uses it.

Nothing else may live here, and nothing that is not loaded anyway may be imported: a CNI call begins here.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Unloaded(ModuleType):
    """In the module's place until somebody asks it for something."""

    def __getattr__(self, name: str) -> Any:
        import importlib

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def load_when_used(name: str) -> None:
    """From here on `import NAME` costs nothing, and the first attribute that is asked of it loads it.

    For `inspect`, before anything imports `dataclasses`: that uses it for the docstring of a class that has none,
    which ours have (`windrow.model.lazy`), and loading it takes longer than all of `dataclasses`. Python 3.14 asks it
    about every class with slots, so there nothing is won. (`importlib.util.LazyLoader` loads at the next `import`
    already, which looks at `__spec__`.)
    """
    sys.modules.setdefault(name, _Unloaded(name))
