"""The packet filter's rules of ports and of network policies, looked at and put right, by nft and iptables.

A look lists each table that a record needs once, whatever the number of ports, and none where no record needs one.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from windrow.apps.policyfilter import PolicyFilter
from windrow.model.filters import IPTABLES, NFTABLES, Filters, FiltersSeen, PortFilter
from windrow.model.ruletable import PoliciesSeen, RuleTable
from windrow.model.steps import DropFilter, Failure, SetFilter, SetPolicies, Step
from windrow.netlink.errors import KernelError
from windrow.policy import nft
from windrow.port import filtering
from windrow.port.filtering import NFT_SPOOF, Listing
from windrow.services.errors import ServiceError
from windrow.services.firewall import LEGACY, SYSTEM, Firewall

NFT_POLICIES = (NFTABLES, nft.FAMILY, nft.TABLE)
HEARD = (*filtering.TABLES, NFT_POLICIES[1:])
"""nft's tables with rules of ours, by family and name."""
FRESH_S = 30.0
"""How long the agent goes by a listing. Of changes of nftables it hears, and forgets what it had; those by iptables,
of which the kernel need not tell, are found so late."""


class PortFilters:
    """Of the calling thread's network namespace. `fresh_s`: how old a listing may be where all is well by it."""

    def __init__(
        self, firewall: Firewall | None = None, *, fresh_s: float = 0.0, mono: Callable[[], float] = time.monotonic
    ) -> None:
        self._firewall = firewall or Firewall()
        self._mono = mono
        self.fresh_s = fresh_s
        self._kept: dict[Listing, tuple[float, str]] = {}
        self._iptables: tuple[float, RuleTable | None] = (0.0, None)

    def forget(self) -> None:
        """The rules may have changed."""
        self._kept.clear()
        self._iptables = (0.0, None)

    # Looking --------------------------------------------------------------------------------------

    def read(self, wanted: Filters, known: Iterable[tuple[str, str]], links: Collection[str]) -> FiltersSeen:
        """`known`: attachments that have a record; `links`: all links there are. Raises nothing: what could not be read
        is in `unread`."""
        if not wanted:
            return FiltersSeen()
        needed = filtering.listings(wanted.values())
        texts, unread = self._list(needed, fresh_s=self.fresh_s)
        try:
            found = filtering.seen(wanted, texts)
            stale = filtering.left_over(texts.get(NFT_SPOOF, ""), known, links)
            if self.fresh_s and (stale or any(one.faults for one in found.values())):
                texts, unread = self._list(needed)  # a port may have come since, or gone
                found = filtering.seen(wanted, texts)
                stale = filtering.left_over(texts.get(NFT_SPOOF, ""), known, links)
        except ValueError as error:
            return FiltersSeen(unread=f"what nft printed is not understood: {error}")
        return FiltersSeen(filters={**found, **stale}, left_over=frozenset(stale), unread=unread)

    def policies(self) -> PoliciesSeen:
        """The table of network policies, whoever has it. Raises nothing: why it could not be read is in `unread`."""
        texts, unread = self._list([NFT_POLICIES], fresh_s=self.fresh_s)
        try:
            found = nft.read(texts.get(NFT_POLICIES, ""))
            if found.empty:
                found = self._by_iptables()
        except (ServiceError, KernelError) as error:
            return PoliciesSeen(table=None, unread=str(error))
        except ValueError as error:
            return PoliciesSeen(table=None, unread=f"what nft printed is not understood: {error}")
        if found.empty and unread and not _is_lacking(unread):
            return PoliciesSeen(table=None, unread=unread)
        return PoliciesSeen(table=found)

    def _by_iptables(self) -> RuleTable:
        """Kept as long as a listing, and that there is none as well. Raises ServiceError, KernelError, ValueError."""
        at, table = self._iptables
        if table is None or self._mono() - at >= self.fresh_s:
            other = PolicyFilter(self._firewall)
            table = other.read() if other.in_use() else RuleTable()
            self._iptables = self._mono(), table
        return table

    def all_checked(self) -> Filters:
        """All ports of ours that rules of macspoofchk lead from, be they there or not. None where nft cannot tell."""
        try:
            return filtering.left_over(self._listed(NFT_SPOOF), known=(), links=())
        except (ServiceError, ValueError):
            return {}

    def drop(self, gone: Iterable[PortFilter]) -> str:
        """Take these rules away; empty, or why that is not done."""
        try:
            repair = filtering.repair({}, gone, {NFT_SPOOF: self._listed(NFT_SPOOF)})
            if repair.nft:
                self._firewall.load(repair.nft, as_json=True)
        except (ServiceError, ValueError) as error:
            return str(error)
        return ""

    def _list(self, needed: Iterable[Listing], *, fresh_s: float = 0.0) -> tuple[dict[Listing, str], str]:
        texts: dict[Listing, str] = {}
        unread: list[str] = []
        for of in sorted(needed):
            at, text = self._kept.get(of, (-math.inf, ""))
            if self._mono() - at >= fresh_s:
                try:
                    text = self._listed(of)
                except ServiceError as error:
                    unread.append(f"{error.program}: {error.reason}")
                    continue
                self._kept[of] = self._mono(), text
            texts[of] = text
        return texts, "; ".join(dict.fromkeys(unread))

    def _listed(self, of: Listing) -> str:
        if of[0] == NFTABLES:
            return self._firewall.table(*of[1:])
        return self._firewall.nat(_variant(of[0]), of[1])

    # Putting right --------------------------------------------------------------------------------

    def run(self, steps: Sequence[Step], links: Collection[str]) -> Failure | None:
        """All of them, in one transaction of each program; where that is refused, one by one, and the first failure.
        `links`: those there are now; a port that is gone needs no rules any more."""
        self.forget()
        for step in steps:
            if isinstance(step.action, SetPolicies) and (failure := self._police(step, step.action.table)):
                return failure
        steps = [step for step in steps if not isinstance(step.action, SetPolicies)]
        gone = next((s for s in steps if isinstance(s.action, SetFilter) and s.link not in links), None)
        there = [s for s in steps if not isinstance(s.action, SetFilter) or s.link in links]
        failure = self._try(there)
        if failure is not None and len(there) > 1:
            failure = next(filter(None, (self._try([step]) for step in there)), None)
        if failure is None and gone is not None:
            return Failure(step=gone, errno=errno.ENODEV, reason="No such device")
        return failure

    def _police(self, step: Step, wanted: RuleTable) -> Failure | None:
        try:
            if wanted.of_iptables:
                PolicyFilter(self._firewall).load(wanted)
                self._drop_those_of_nft()
                return None
            other = PolicyFilter(self._firewall)
            replaced = other.in_use() and not other.read().empty
            if not (replaced and wanted.empty):
                self._load(wanted)
            if replaced:
                other.load(RuleTable())
        except ServiceError as error:
            return Failure(step=step, errno=errno.EIO, reason=f"{error.program}: {error.reason}{_lacks(error)}")
        except KernelError as error:
            return Failure(step=step, errno=error.errno, reason=str(error))
        except ValueError as error:
            return Failure(step=step, errno=errno.EIO, reason=f"what iptables printed is not understood: {error}")
        return None

    def _load(self, wanted: RuleTable) -> None:
        """From what is there now; where that is not understood, all of it anew. One transaction either way: what is
        refused leaves the old rules in force. Raises ServiceError."""
        try:
            there = nft.read(self._listed(NFT_POLICIES))
        except ValueError:
            there = RuleTable()
        if text := nft.program(wanted, there):
            self._firewall.load(text, as_json=True)

    def _drop_those_of_nft(self) -> None:
        """The overlay's, that is, where nft has the family bridge and no connections in it."""
        with suppress(ServiceError):
            if self._listed(NFT_POLICIES):
                self._load(RuleTable())

    def _try(self, steps: Sequence[Step]) -> Failure | None:
        if not steps:
            return None
        try:
            self._put_right(steps)
        except ServiceError as error:
            why = f"{error.program}: {error.reason}"
            return Failure(step=steps[0], errno=errno.EIO, reason=why)
        except ValueError as error:
            return Failure(step=steps[0], errno=errno.EIO, reason=f"what nft printed is not understood: {error}")
        return None

    def _put_right(self, steps: Sequence[Step]) -> None:
        """Raises ServiceError, ValueError."""
        wanted = {s.link: (s.action.filter, s.action.parts) for s in steps if isinstance(s.action, SetFilter)}
        gone = [s.action.filter for s in steps if isinstance(s.action, DropFilter)]
        needed = filtering.listings(one for one, _ in wanted.values()) | ({NFT_SPOOF} if gone else set())
        texts = {of: self._listed(of) for of in sorted(needed)}
        repair = filtering.repair(wanted, gone, texts)
        if repair.nft:
            self._firewall.load(repair.nft, as_json=True)
        if repair.nft_text:
            self._firewall.load(repair.nft_text)
        for (backend, version), program in repair.iptables.items():
            self._firewall.restore_by(_variant(backend), version, program)


_NEEDED = "network policies need nftables of the family bridge with conntrack: modules nf_tables, nf_conntrack_bridge"
_NEEDED_BY_IPTABLES = (
    "network policies by iptables need the modules iptable_security, ip6table_security, br_netfilter, xt_conntrack,"
    " xt_connlabel, xt_physdev, xt_set, xt_comment, and with a logged policy xt_limit, xt_LOG"
)


def _lacks(refused: ServiceError) -> str:
    """What the kernel may lack, where that may be why: iptables names the line, and no module."""
    if refused.program == "nft":
        return f"; {_NEEDED}" if _is_lacking(refused.reason) else ""
    return f"; {_NEEDED_BY_IPTABLES}" if refused.program.endswith("-restore") else ""


def _is_lacking(reason: str) -> bool:
    """Whether nft has no more than that to say: its program is missing, or its half in the kernel."""
    return any(word in reason for word in ("not supported", "Protocol error", "is not installed"))


def _variant(backend: str) -> str:
    return SYSTEM if backend == IPTABLES else LEGACY


def unannounced(filters: Filters) -> bool:
    """Whether some of these are where nobody hears of a change: the legacy iptables announces none, and the other
    one's table is often changed by others."""
    return any(one.masquerade and one.backend != NFTABLES for one in filters.values())
