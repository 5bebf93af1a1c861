"""This host's key for its encrypted tunnel devices: made when it is needed first, and the same ever after."""

from __future__ import annotations

import os

from windrow.model.overlay import KEY_BYTES
from windrow.netlink.wireguard import public_key
from windrow.store.errors import StoreError
from windrow.store.keys import Keys, read_keys, write_keys
from windrow.store.paths import Paths


def own_keys(paths: Paths) -> Keys:
    """The caller holds the host's lock. Raises StoreError, also where there is a file that says no key: another one is
    not known to the other nodes. Raises KernelError."""
    found = read_keys(paths)
    if found is None:
        if os.path.lexists(paths.wireguard_key):
            hint = "restore it; or delete it, to have a new key made, which the other nodes then have to be told"
            raise StoreError(paths.wireguard_key, "says no key that this version of Windrow can read", hint)
        private = os.urandom(KEY_BYTES)
        found = Keys(private=private, public=public_key(private))
        write_keys(paths, found)
    return found
