"""What is adopted, and what to take out of the files of other programs, as text."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.adopt import PROGRAMS, Adoption, Claim
from windrow.render.text import PLAIN, Style, pad, plural


def adoption_text(adoption: Adoption, style: Style = PLAIN) -> str:
    """A block for each network: what it has now, and how that is called from then on."""
    names = {one.link: one.name for one in adoption.marked}
    lines: list[str] = []
    for network in adoption.networks:
        lines.append(f"{network.bridge} is cluster network {style.bold(network.cluster_network)}:")
        for kind, link in (
            ("bridge", network.bridge),
            ("bond", network.bond),
            *(("VLAN", link) for link in network.interfaces.values()),
        ):
            lines.append(f"  {pad(kind, 6)}  {_called(str(link), str(names.get(link, link)))}")
        lines.append(f"  {pad('NICs', 6)}  {', '.join(network.nics)}")
    objects = ", ".join(str(obj.ref) for obj in adoption.objects)
    return "\n".join([*lines, f"{plural(len(adoption.objects), 'object')}: {objects}"])


def standing_text(adoption: Adoption) -> str:
    """They have their names already."""
    links = ", ".join(one.name for one in adoption.marked)
    return f"{plural(len(adoption.marked), 'link')} that the objects describe and Windrow did not make: {links}"


def _called(own: str, name: str) -> str:
    return own if own == name else f"{own}, called {name} as well"


def claims_text(claims: Sequence[Claim], style: Style = PLAIN) -> str:
    """Program by program: file and lines, and what stands there."""
    lines: list[str] = []
    for program in dict.fromkeys(claim.program for claim in claims):
        mine = [claim for claim in claims if claim.program == program]
        places = dict.fromkeys((claim.place, claim.what) for claim in mine)
        width = max(len(place) for place, _ in places)
        lines.append(f"Take out of the files of {style.bold(program)}, or it makes this again at the next start:")
        lines += (f"  {pad(place, width)}  {what}" for place, what in places)
        lines.append(f"  ({PROGRAMS[program].after})")
    return "\n".join(lines)
