"""Where things are on a host. One root moves them all, so several nodes can live on one machine."""

from __future__ import annotations

from pathlib import Path

from windrow.model.lazy import dataclass


@dataclass(frozen=True, slots=True)
class Paths:
    root: Path = Path("/")

    @property
    def manifests(self) -> Path:
        """The administrator's: what this cluster shall be."""
        return self.root / "etc/windrow/manifests"

    @property
    def check_key(self) -> Path:
        """The administrator's, the same on every node: what the probes of this cluster are signed with."""
        return self.root / "etc/windrow/check.key"

    @property
    def wireguard_key(self) -> Path:
        """The keys of this host's encrypted tunnel devices: made once and kept, for all other nodes know the public
        one."""
        return self.state / "wireguard.json"

    @property
    def state(self) -> Path:
        """Windrow's own: it outlives a reboot."""
        return self.root / "var/lib/windrow"

    @property
    def runtime(self) -> Path:
        """Gone after a reboot."""
        return self.root / "run/windrow"

    @property
    def lock(self) -> Path:
        """The one lock of the host: whoever changes its network holds it."""
        return self.runtime / "lock"

    @property
    def turn(self) -> Path:
        """The lock of whoever carries out a plan: one at a time, also while it waits and lets `lock` go."""
        return self.runtime / "apply.lock"

    @property
    def cluster_networks(self) -> Path:
        """The names of all cluster networks as of the last `apply`, one on each line: no CNI call has to read YAML to
        know whose a bridge is that is not there."""
        return self.runtime / "clusternetworks"

    @property
    def judged(self) -> Path:
        """The ports that the rules of network policies in force have judged, one on each line: a CNI call waits for its
        own to be among them."""
        return self.runtime / "judged"

    @property
    def ports(self) -> Path:
        """One file for each port that a CNI call made. On tmpfs: the ports are gone after a reboot, too."""
        return self.runtime / "ports"

    @property
    def addressed_ports(self) -> Path:
        """One file for each port with addresses from an IPAM plugin. On disk: leases outlive a reboot."""
        return self.state / "ports"

    @property
    def attachments(self) -> Path:
        """What the meta plugin attached to each container, with all results: gone with the containers at a reboot."""
        return self.runtime / "attachments"

    @property
    def lasting_attachments(self) -> Path:
        """What of it is to be undone even after a reboot, written before it is made."""
        return self.state / "attachments"

    @property
    def pods(self) -> Path:
        """Pod manifests (`<namespace>/<name>.json`) for runtimes that cannot pass annotations on."""
        return self.runtime / "pods"

    @property
    def pod_status(self) -> Path:
        """What was attached to each pod (`<namespace>/<name>.json`), for whoever wants to know."""
        return self.runtime / "pod-status"

    @property
    def device_info(self) -> Path:
        """Where plugins of others say which device they handed to a pod: the place of the network plumbing group."""
        return self.root / "var/run/k8s.cni.cncf.io/devinfo/cni"

    @property
    def untold(self) -> Path:
        """One file for each container whose `pod_status` a cluster's API does not have yet."""
        return self.runtime / "untold"

    @property
    def machines(self) -> Path:
        """A directory for each running VM: its record, sockets, generated files."""
        return self.runtime / "vms"

    @property
    def machine_addresses(self) -> Path:
        """A file for each VM (`<namespace>/<name>.json`): the pod's addresses on the pod network, to be asked for again
        at its next start. On disk: that may be after a reboot."""
        return self.state / "machine-addresses"

    @property
    def machine_logs(self) -> Path:
        """What guests say on their serial lines, as much as they like: on disk, not in the memory of /run."""
        return self.root / "var/log/windrow/vms"

    @property
    def last_good(self) -> Path:
        """The objects that this host was last brought to: what it comes up from, whatever became of the manifests."""
        return self.state / "last-good.json"

    @property
    def history(self) -> Path:
        """A file for each of the last changes that were made by hand (`store.history`)."""
        return self.state / "history"

    @property
    def memory(self) -> Path:
        """`model.facts.Memory`, but for what a start of the host ends."""
        return self.state / "memory.json"

    @property
    def had(self) -> Path:
        """`Memory.had`."""
        return self.runtime / "addresses.json"

    @property
    def pool_record(self) -> Path:
        """`model.pools.Record`: which address of a pool was given to whom. On disk: it outlives a reboot."""
        return self.state / "pools.json"

    @property
    def active_pools(self) -> Path:
        """The pools whose server's address is this node's turn to have. After a reboot it is somebody else's."""
        return self.runtime / "active-pools.json"

    @property
    def dhcp_servers(self) -> Path:
        """The files of running DHCP servers, a directory for each link. On tmpfs: what they serve is recorded, and
        Kea writes a lease file."""
        return self.runtime / "dhcp-servers"

    @property
    def leases(self) -> Path:
        """A file for each link with an address from a DHCP server. On disk: a lease outlives a reboot."""
        return self.state / "leases"

    @property
    def checkpoint(self) -> Path:
        """How to go back, while a change is not confirmed. On disk: a change that cut the power is undone, too."""
        return self.state / "checkpoint.json"

    @property
    def origin(self) -> Path:
        """What `windrow init` found, for `windrow init --undo`."""
        return self.state / "origin.json"

    @property
    def adopted(self) -> Path:
        """The links that another hand made and that are Windrow's since, for `windrow adopt --undo`."""
        return self.state / "adopted.json"

    @property
    def events(self) -> Path:
        """What happened here, the newest last; one JSON document on each line."""
        return self.state / "events.jsonl"

    @property
    def agent_status(self) -> Path:
        """What the agent last found: conditions and since when, failures, contests."""
        return self.runtime / "agent.json"

    @property
    def agent_lock(self) -> Path:
        """Held by the agent for as long as it runs: one on each host."""
        return self.runtime / "agent.lock"

    @property
    def check_lock(self) -> Path:
        """Held by whoever sends probes from this node: one process does."""
        return self.runtime / "check.lock"

    @property
    def dhcp_asked(self) -> Path:
        """When each VLAN was last asked for its DHCP servers: not again within five minutes."""
        return self.runtime / "dhcp-asked.json"

    @property
    def agent_socket(self) -> Path:
        """Where the agent answers /metrics and /healthz."""
        return self.runtime / "agent.sock"

    @property
    def dhcp(self) -> Path:
        """The files of running DHCP clients."""
        return self.runtime / "dhcp"

    @property
    def cni_socket(self) -> Path:
        """Where `windrow cni serve` listens."""
        return self.runtime / "cni.sock"

    @property
    def cni_networks(self) -> Path:
        """The administrator's CNI configurations: where a default network is looked for by its name."""
        return self.root / "etc/cni/net.d"
