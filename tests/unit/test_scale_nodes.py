"""The simulated agents of `make test-scale`: what all of them read alike is in memory once."""

from __future__ import annotations

import pytest
from tests.kube.cluster import document, nad
from tests.scale.nodes import Shared

from windrow.kube import api, cache, trim
from windrow.kube.cache import Cache


def test_what_two_agents_read_is_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((api, "decoded"), (trim, "wanted"), (trim, "bounded"), (cache, "load_value")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back after the test
    Shared().install()
    one, other = Cache(), Cache()
    for number, read in enumerate((document("ClusterNetwork", "oob"), nad("v100", 100), document("Node", "n1"))):
        read["metadata"]["resourceVersion"] = str(number)
        assert one.put(read) and other.put(read)
        found = one.one(trim.ref_of(read))
        assert found is not None and found.objects and found is other.one(trim.ref_of(read))
