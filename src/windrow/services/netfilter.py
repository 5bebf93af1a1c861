"""Rules in the kernel's packet filter, of the calling thread's network namespace: by nft, or iptables where there is
no nft family in the kernel.

Which one works is found by trying: a program may be there whose half in the kernel is not, and the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping

from windrow.services.errors import ServiceError
from windrow.services.process import run

IPTABLES = {4: ("iptables-legacy-restore", "iptables-restore"), 6: ("ip6tables-legacy-restore", "ip6tables-restore")}
"""By the version of IP. The legacy variant first: where nft itself was refused, the other one will be as well, and
Debian has `iptables-restore` for either."""


def load(nft: str, iptables: Mapping[int, str]) -> str:
    """Load a rule set in one transaction; by which program ("nft", "iptables").

    `nft` is for `nft -f`; `iptables`, by version of IP, for `iptables-restore`, which replaces the tables that are in
    it. Raises ServiceError with what each of them said.
    """
    try:
        run(["nft", "-f", "-"], stdin=nft)
    except ServiceError as refused:
        try:
            for version, text in iptables.items():
                _restore(IPTABLES[version], text)
        except ServiceError as error:
            raise ServiceError("nft", f"{refused.reason}; and {error.program}: {error.reason}", error.hint) from error
        return "iptables"
    return "nft"


def _restore(programs: tuple[str, ...], text: str) -> None:
    refusals: list[ServiceError] = []
    for program in programs:
        try:
            run([program, "--wait"], stdin=text)
            return
        except ServiceError as error:
            refusals.append(error)
    raise refusals[-1] if isinstance(refusals[0].__cause__, FileNotFoundError) else refusals[0]
