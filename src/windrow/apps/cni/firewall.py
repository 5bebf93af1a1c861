"""The firewall programs of a port, put into the kernel and taken out of it. Loaded only where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from windrow.model.filters import IPTABLES, LEGACY, NFTABLES
from windrow.port import firewall as programs
from windrow.port.errors import KERNEL_REFUSED, CniError
from windrow.port.request import Request
from windrow.services.errors import ServiceError
from windrow.services.firewall import LEGACY as WITHOUT_NFTABLES
from windrow.services.firewall import SYSTEM, VERSIONS, Firewall


def check_spoofing(request: Request, *, port: str, mac: str, holding: int | None) -> None:
    """Let nothing else pass than frames from `mac`. `holding`: the record's lock. Raises CniError."""
    program = programs.spoof_program(request.container_id, request.ifname, port=port, mac=mac)
    with _explained("check source MAC addresses"):
        _firewall(request, holding).load(program, as_json=True)


def forget_spoofing(request: Request) -> None:
    """Raises CniError. Table and base chain stay, as with the reference plugin."""
    firewall = _firewall(request)
    listing = firewall.chain(programs.SPOOF_CHAIN)
    if listing is not None:
        with _explained("take the check of source MAC addresses away"):
            firewall.load(programs.spoof_removal(request.container_id, request.ifname, listing), as_json=True)


def masquerade(request: Request, backend: str, addresses: Sequence[str], *, holding: int | None) -> str:
    """`backend` empty: iptables, and nftables where that does not work. By what it was done (`model.filters`).
    `holding`: the record's lock. Raises CniError."""
    firewall = _firewall(request, holding)
    failures: list[ServiceError] = []
    for one in (backend,) if backend else (IPTABLES, NFTABLES):
        try:
            if one == NFTABLES:
                names = request.network, request.container_id, request.ifname
                firewall.load(programs.masquerade_program(*names, addresses))
                return NFTABLES
            made = programs.iptables_programs(request.network, request.container_id, addresses)
            return LEGACY if firewall.restore(made) == WITHOUT_NFTABLES else IPTABLES
        except ServiceError as error:
            failures.append(error)
    reasons = "; ".join(f"{error.program}: {error.reason}" for error in failures)
    raise CniError(KERNEL_REFUSED, "the addresses cannot be masqueraded", reasons)


def forget_masquerade(request: Request) -> None:
    """By whichever program it was made. Raises CniError."""
    firewall = _firewall(request)
    names = request.network, request.container_id
    with _explained("stop masquerading"):
        listing = firewall.chain(programs.MASQUERADE_CHAIN)
        if listing is not None and (program := programs.masquerade_removal(*names, request.ifname, listing)):
            firewall.load(program, as_json=True)
        for variant in (SYSTEM, WITHOUT_NFTABLES):
            for version in VERSIONS:
                saved = firewall.saved(variant, version)
                if program := programs.iptables_removal(*names, saved):
                    firewall.restore_by(variant, version, program)


def _firewall(request: Request, holding: int | None = None) -> Firewall:
    return Firewall(request.env.get("PATH", ""), holding)


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        details = f"{error.program}: {error.reason}" + (f" ({error.hint})" if error.hint else "")
        raise CniError(KERNEL_REFUSED, f"cannot {doing}", details) from error
    except ValueError as error:
        raise CniError(KERNEL_REFUSED, f"cannot {doing}", f"nft printed what is no JSON: {error}") from error
