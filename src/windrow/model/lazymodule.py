"""A module of the standard library that is loaded when somebody uses it.

Nothing else may live here, and nothing that is not loaded anyway may be imported: a CNI call begins here.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Unloaded(ModuleType):
    """In the module's place until somebody asks it for something."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # `from … import` asks whether it is a package (PyImport_ImportModuleLevelObject)
            raise AttributeError(name)
        return getattr(loaded(self.__name__), name)


def load_when_used(name: str, **known: object) -> None:
    """From here on `import NAME` costs nothing, and the first attribute that is asked of it loads it; `known` are
    those that it has without being loaded.

    For `inspect`, before anything imports `dataclasses`: that uses it for the docstring of a class that has none,
    which ours have (`windrow.model.lazy`), and loading it takes longer than all of `dataclasses`. Python 3.14 asks it
    about every class with slots, so there nothing is won. (`importlib.util.LazyLoader` loads at the next `import`
    already, which looks at `__spec__`.)
    """
    if name not in sys.modules:
        module = sys.modules[name] = _Unloaded(name)
        vars(module).update(known)


def loaded(name: str) -> ModuleType:
    """The real module, whatever stands in its place; who has that one already finds the same in it."""
    import importlib

    stand_in = sys.modules.get(name)
    if not isinstance(stand_in, _Unloaded):
        return importlib.import_module(name)
    del sys.modules[name]
    real = importlib.import_module(name)
    for child, module in list(sys.modules.items()):
        parent, _, own_name = child.rpartition(".")
        if parent == name:  # what was there before it would have put itself there
            vars(real).setdefault(own_name, module)
    vars(stand_in).update(vars(real))
    return real
