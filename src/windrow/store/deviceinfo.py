"""Which device a plugin of others has handed to a pod, in the file that it was told to write it to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from windrow.model import jsontext

LARGEST = 64 * 1024


def read(path: str) -> Mapping[str, Any]:
    """Empty where it has said nothing that can be read: the device is in the pod all the same."""
    with suppress(OSError, ValueError, RecursionError), open(path, "rb") as file:
        found = jsontext.loads(file.read(LARGEST + 1))
        if isinstance(found, dict):
            return found
    return {}


def remove(path: str) -> None:
    """A plugin may have done so itself."""
    with suppress(OSError):
        os.unlink(path)
