"""The keys of this host's encrypted tunnel devices. Only root may read them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from windrow.model.lazy import dataclass
from windrow.model.overlay import KEY_BYTES
from windrow.store import records
from windrow.store.errors import explained
from windrow.store.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Keys:
    """It is not to be printed, so it has no words for that. `public`: in base64, as nodes tell it each other."""

    private: bytes
    public: str


def read_keys(paths: Paths) -> Keys | None:
    """None: there are none (yet), or they cannot be read."""
    try:
        document = json.loads(records.read_private(paths.wireguard_key))
        records.understand(document)
        private, public = (b64decode(str(document[name]), validate=True) for name in ("private", "public"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if len(private) != KEY_BYTES or len(public) != KEY_BYTES:
        return None
    return Keys(private=private, public=b64encode(public).decode())


def write_keys(paths: Paths, keys: Keys) -> None:
    """They are on the disk when this returns. Raises StoreError."""
    document = records.stamped({"private": b64encode(keys.private).decode(), "public": keys.public})
    with explained(paths.wireguard_key, "keep the key of this host's tunnels"):
        records.make_directory(paths.wireguard_key.parent)
        records.write(paths.wireguard_key, json.dumps(document).encode(), mode=records.PRIVATE)
