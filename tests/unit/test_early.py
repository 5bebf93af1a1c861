"""What stands in for a module gives way to it as soon as somebody needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SPARED = """
import sys
sys.path[:] = {path!r}
from windrow.apps.cni import early
early.spare()
from windrow.model.lazymodule import _Unloaded
def stands_in(name): return isinstance(sys.modules[name], _Unloaded)
{text}
"""
CASES = {
    "nobody": r"""
import json, dataclasses, pathlib, typing, re, copy
from typing import TYPE_CHECKING, Any, Literal, NewType, NoReturn, Protocol, TypeVar
Mac, T, Kind = NewType("Mac", str), TypeVar("T"), Literal["a", "b"]
class Named(Protocol):
    name: str
assert Mac("x") == "x" and TYPE_CHECKING is False
pattern = re.compile("a+", re.VERBOSE)
assert all(map(stands_in, ("typing", "re", "copy", "inspect", "urllib.parse"))), sys.modules.keys()
""",
    "re": r"""
import re
pattern, data = re.compile("(?P<first>a) # one", re.VERBOSE), re.compile(rb"a")
assert pattern.match("ab")["first"] == "a" and pattern.fullmatch("ab") is None and data.sub(b"b", b"a") == b"b"
assert pattern.groups == 1 and re.escape(".") == r"\." and re.compile("a").match("a") and not stands_in("re")
import re
assert isinstance(re.compile("a"), re.Pattern)
""",
    "who had it before": r"""
import re
before, pattern = re, re.compile("a")
assert pattern.match("a") and re.IGNORECASE and not stands_in("re")
import re
assert before is not re and before.compile is re.compile and before.compile("b") is re.compile("b")
assert pattern.match is not type(pattern).match and pattern.match("ab").end() == 1
""",
    "manifests": r"""
from pathlib import Path
from tempfile import TemporaryDirectory
from windrow.apps.cni import definitions
from windrow.store.paths import Paths
with TemporaryDirectory() as root:
    paths = Paths(Path(root))
    paths.manifests.mkdir(parents=True)
    (paths.manifests / "a.yaml").write_text(
        "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: web}\n"
        "spec:\n  config: '{\"cniVersion\": \"1.0.0\", \"type\": \"bridge\", \"bridge\": \"b-br\", \"vlan\": 100}'\n"
        "---\napiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec: {podCIDR: 10.52.0.0/24}\n"
    )
    found = definitions.load(paths)
    assert found.networks["default/web"]["vlan"] == 100 and found.pod_cidrs == {"n": ("10.52.0.0/24",)}, found
""",
    "json": r"""
import json
try:
    json.loads("{")
except json.JSONDecodeError as error:
    assert error.colno == 2
else:
    raise AssertionError
assert json.loads(" [1.5] ") == [1.5] and json.dumps({"a": "é"}, indent=1) == '{\n "a": "\\u00e9"\n}'
""",
    "typing": r"""
from typing import NamedTuple, get_type_hints
class Pair(NamedTuple):
    one: int
assert Pair(1)._asdict() == {"one": 1} and get_type_hints(Pair) == {"one": int} and not stands_in("typing")
""",
    "urllib": r"""
from pathlib import Path
assert Path("/a b").as_uri() == "file:///a%20b"
from urllib.parse import urlsplit
assert urlsplit("http://h:1/").port == 1
""",
    "collections": r"""
import functools, collections.abc
from collections.abc import Mapping
assert all(map(stands_in, ("collections", "reprlib"))), "functools needs none of it"
from collections import deque, namedtuple
assert deque([1]) and stands_in("collections")
Pair = namedtuple("Pair", "one two")
assert Pair(1, 2)._asdict() == {"one": 1, "two": 2} and Pair.one and not stands_in("collections")
import collections
assert collections.OrderedDict is not None and collections.abc.Mapping is Mapping and issubclass(dict, Mapping)
@functools.lru_cache
def same(value): return value
same(1), same(1)
assert same.cache_info().hits == 1 and str(same.cache_info()).startswith("CacheInfo(hits=1")
""",
    "reprlib": r"""
from reprlib import recursive_repr
class Circle:
    @recursive_repr("...")
    def __repr__(self): return f"<{self.inner!r}>"
one = Circle(); one.inner = one
assert repr(one) == "<...>"
""",
    "warnings": r"""
import pathlib, warnings
assert all(map(stands_in, ("warnings", "fnmatch", "operator")))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.warn("x", UserWarning)
assert len(caught) == 1 and pathlib.PurePath("a.py").match("*.py") and not stands_in("warnings")
from operator import attrgetter, itemgetter
assert itemgetter(0)([1]) == 1
""",
    "copy": r"""
import copy
from dataclasses import asdict
from windrow.model.ports import PortRecord
record = PortRecord(container_id="c", ifname="e", netns="", network="n", bridge="b", host="h")
assert asdict(record)["ifname"] == copy.deepcopy(record).ifname == "e"
""",
}


def test_what_is_loaded_already_is_left_alone() -> None:
    """An interpreter that was started in another way has some of it."""
    program = SPARED.format(path=[entry for entry in sys.path if entry], text="assert not stands_in('collections')\n")
    program = (
        program.replace("import sys\n", "import sys, runpy\n", 1) + "import typing\ntyping.Hashable, typing.ClassVar\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_it_gives_way(case: str) -> None:
    program = SPARED.format(path=[entry for entry in sys.path if entry], text=CASES[case])
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
