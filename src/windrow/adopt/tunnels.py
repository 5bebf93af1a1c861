"""The overlay's devices that flanneld made, there and back: which of them can be Windrow's as they are."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model import names
from windrow.model.adopted import Adopted, AdoptedLink
from windrow.model.host import Observed
from windrow.model.objects import ClusterNetwork
from windrow.model.overlay import PLACE, NetConf
from windrow.model.problems import Problem
from windrow.model.values import IfName, Ref


def taken_over(conf: NetConf, observed: Observed) -> tuple[tuple[AdoptedLink, ...], tuple[Problem, ...]]:
    """The devices that are to be marked, and what stands against it. Neither: all that are there are Windrow's."""
    theirs = [device for _, device in conf.devices if device in observed.state.links and not observed.owned(device)]
    problems = tuple(problem for device in theirs for problem in _unfit(device, conf, observed))
    devices = [device for _, device in conf.devices]
    if not observed.state.links.keys() & set(devices):
        text = f"there is no device of the overlay here ({', '.join(devices)})"
        problems = (_problem("nothing-to-adopt", text, "`windrow apply` makes it, or the agent does"),)
    found = (AdoptedLink(link=one, name=one, group=observed.runtime[one].group) for one in theirs)
    return tuple(found), problems


def windrows(conf: NetConf, observed: Observed, adopted: Adopted) -> tuple[AdoptedLink, ...]:
    """The devices of the overlay that are Windrow's, whoever made them, with what they were before."""
    known = {one.name: one for one in adopted.marked}
    ours = [device for _, device in conf.devices if observed.owned(device)]
    return tuple(known.get(one, AdoptedLink(link=one, name=one)) for one in ours)


def _unfit(device: IfName, conf: NetConf, observed: Observed) -> Iterator[Problem]:
    """VNI and port are chosen when a device is made: another one would have to be made, and cut off the pods."""
    tunnel = observed.runtime[device].tunnel
    if conf.encrypted:
        hint = "end flanneld on this node, which takes its device along (one that was killed does not: delete it); "
        hint += "`windrow apply` makes another one"
        yield _problem("in-the-way", f"{device} has a key of flanneld's, and cannot be taken over", hint)
    elif tunnel is None:
        kind = observed.state.links[device].kind
        yield _problem(
            "in-the-way", f"{device} is a {kind}, and the overlay's devices are vxlan", "rename or delete it"
        )
    elif (tunnel.vni, tunnel.port) != (conf.vni, conf.port):
        message = f"{device} has VNI {tunnel.vni} and port {tunnel.port}, "
        message += f"and the overlay of {names.MGMT} has VNI {conf.vni} and port {conf.port}"
        yield _problem("overlay-differs", message, "write flannel's VNI and port into its configuration", path=PLACE)


def _problem(code: str, message: str, hint: str, *, path: str = "") -> Problem:
    return Problem(code=code, message=message, hint=hint, path=path, about=Ref(ClusterNetwork.KIND, names.MGMT))
