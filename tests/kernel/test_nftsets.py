"""Members of nftables' sets, by netlink, as nft itself tells of them."""

from __future__ import annotations

import errno
import json
import subprocess

import pytest
from tests.kernel.conftest import Ns

from windrow.model.ruletable import MemberChange, Verb
from windrow.netlink import nftsets
from windrow.netlink.errors import KernelError

TABLE = ("bridge", "a-table")
CREATE, ADD, DELETE = (MemberChange(verb, "ports", "veth1") for verb in Verb)
OTHER = MemberChange(Verb.ADD, "others", "a-name-of-15-by")


def nft(*words: str) -> str:
    return subprocess.run(["nft", "-j", *words], capture_output=True, text=True, check=True).stdout


def members(name: str) -> list[str]:
    listed = json.loads(nft("list", "set", *TABLE, name))["nftables"]
    return next(one["set"].get("elem", []) for one in listed if "set" in one)


def refused(*changes: MemberChange) -> int:
    with pytest.raises(KernelError) as caught:
        nftsets.change(TABLE, changes)
    return caught.value.errno


def test_members_come_and_go_all_or_none(ns: Ns) -> None:
    def by_turns() -> None:
        assert refused(ADD) == errno.ENOENT, "no table"
        assert not nftsets.has(TABLE, "ports", "veth1")
        nft("add", "table", *TABLE)
        assert refused(ADD) == errno.ENOENT, "no set"
        for name in ("ports", "others"):
            nft("add", "set", *TABLE, name, "{ type ifname; }")
        nftsets.change(TABLE, [CREATE, DELETE, OTHER])
        assert (members("ports"), members("others")) == ([], ["a-name-of-15-by"])
        assert nftsets.has(TABLE, "others", "a-name-of-15-by") and not nftsets.has(TABLE, "ports", "veth1")
        assert refused(DELETE) == errno.ENOENT
        for _ in range(2):
            nftsets.change(TABLE, [ADD])
        assert members("ports") == ["veth1"] and nftsets.has(TABLE, "ports", "veth1")
        new = MemberChange(Verb.ADD, "others", "veth2")
        assert refused(new, CREATE) == errno.EEXIST and members("others") == ["a-name-of-15-by"]
        nftsets.change(TABLE, [new, DELETE])
        assert members("ports") == [] and set(members("others")) == {"a-name-of-15-by", "veth2"}

    ns.inside(by_turns)


def test_what_nft_has_named_is_found(ns: Ns) -> None:
    def by_turns() -> None:
        nft("add", "table", *TABLE)
        nft("add", "set", *TABLE, "ports", "{ type ifname; }")
        nft("add", "element", *TABLE, "ports", "{ veth1 }")
        assert nftsets.has(TABLE, "ports", "veth1") and refused(CREATE) == errno.EEXIST
        nftsets.change(TABLE, [DELETE])
        assert members("ports") == []

    ns.inside(by_turns)
