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
    """The devices that are to be marked, and what stands against it."""
    theirs = [device for _, device in conf.devices if device in observed.state.links and not observed.owned(device)]
    problems = tuple(problem for device in theirs for problem in _unfit(device, conf, observed))
    if not theirs:
        there = ", ".join(device for _, device in conf.devices)
        hint = "a device that is missing is made by `windrow apply`, or by the agent"
        problems = (_problem("nothing-to-adopt", f"no other program made a device of the overlay ({there})", hint),)
    found = (AdoptedLink(link=one, name=one, group=observed.runtime[one].group) for one in theirs)
    return tuple(found), problems


def given_back(conf: NetConf, observed: Observed, adopted: Adopted) -> tuple[AdoptedLink, ...]:
    """The devices of the overlay that are Windrow's, whoever made them, with the group that they had before."""
    groups = {one.name: one.group for one in adopted.marked}
    ours = [device for _, device in conf.devices if observed.owned(device)]
    return tuple(AdoptedLink(link=one, name=one, group=groups.get(one, 0)) for one in ours)


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
