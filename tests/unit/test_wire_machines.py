"""KubeVirt's manifests -> machines: its fields, defaults and names; what is not made here is a lack, with its place."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from windrow.model.machines import (
    Binding,
    CloudInit,
    DhcpOptions,
    Disk,
    ForwardedPort,
    GuestNetwork,
    GuestNic,
    KernelBoot,
    Lack,
    LinkState,
    MachineSpec,
    NicModel,
    VirtualMachine,
    VirtualMachineInstance,
)
from windrow.model.meta import Meta
from windrow.model.objects import AnyObject, Node
from windrow.model.problems import Problem, Severity
from windrow.model.selectors import NodeTerm, Operator, Requirement
from windrow.model.values import Cidr, Mac, Ref
from windrow.model.wire import dump, load_documents, yaml_text
from windrow.model.wire.virtualmachine import NAME_MAX

POD_NETWORK = {"name": "default", "pod": {}}
MASQUERADE = {"name": "default", "masquerade": {}}


def vmi(
    networks: Any = None, interfaces: Any = None, *, domain: Any = None, devices: Any = None, **spec: Any
) -> dict[str, Any]:
    devices = {**(devices or {}), **({"interfaces": interfaces} if interfaces is not None else {})}
    spec = {"domain": {**(domain or {}), "devices": devices}, **spec}
    if networks is not None:
        spec["networks"] = networks
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web", "namespace": "prod"},
        "spec": spec,
    }


def vm(inner: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "prod"}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": meta,
        "spec": {**spec, "template": {"spec": inner["spec"]}},
    }


def problems(document: Any) -> tuple[Problem, ...]:
    return load_documents(yaml.safe_dump(document, sort_keys=False), "vm.yaml").problems


def machine(document: Any) -> MachineSpec:
    loaded = load_documents(yaml.safe_dump(document, sort_keys=False))
    assert loaded.problems == ()
    (obj,) = loaded.objects
    assert isinstance(obj, VirtualMachine | VirtualMachineInstance)
    return obj.spec


def lacks(document: Any) -> tuple[Lack, ...]:
    """Of a document that has no problem at all."""
    return machine(document).lacks


def said(document: Any) -> list[tuple[str, str]]:
    """(code, path below the spec) of every problem, by path."""
    return sorted(((p.code, p.path.removeprefix("spec.")) for p in problems(document)), key=lambda pair: pair[1])


def lacking(document: Any) -> list[tuple[str, str]]:
    """(code, path below the spec) of all that it needs and does not get here."""
    return sorted(((one.code, one.path.removeprefix("spec.")) for one in lacks(document)), key=lambda pair: pair[1])


def nic(**fields: Any) -> list[tuple[str, str]]:
    """What is said of one interface of the pod network."""
    return said(vmi([POD_NETWORK], [{"name": "default", **fields}]))


# -- networks and interfaces ----------------------------------------------------------------------------


def test_a_machine_on_the_pod_network_and_two_others() -> None:
    found = machine(
        vmi(
            [
                POD_NETWORK,
                {"name": "vlan100", "multus": {"networkName": "vlan100"}},
                {"name": "dmz", "multus": {"networkName": "infra/dmz"}},
            ],
            [
                MASQUERADE,
                {"name": "vlan100", "bridge": {}, "model": "e1000e", "macAddress": "02-00-00-00-0A-01", "bootOrder": 1},
                {"name": "dmz", "binding": {"name": "managedtap"}, "state": "down", "acpiIndex": 3, "tag": "outside"},
            ],
        )
    )
    assert found.networks == (
        GuestNetwork(name="default"),
        GuestNetwork(name="vlan100", nad="prod/vlan100"),
        GuestNetwork(name="dmz", nad="infra/dmz"),
    )
    assert found.nics == (
        GuestNic(name="default", binding=Binding.MASQUERADE),
        GuestNic(
            name="vlan100", binding=Binding.BRIDGE, model=NicModel.E1000E, mac=Mac("02:00:00:00:0a:01"), boot_order=1
        ),
        GuestNic(name="dmz", binding=Binding.MANAGED_TAP, state=LinkState.DOWN, acpi_index=3, tag="outside"),
    )


def test_a_bare_nad_name_is_of_the_machines_namespace() -> None:
    document = vmi([{"name": "a", "multus": {"networkName": "net"}}], [{"name": "a", "bridge": {}}])
    assert machine(document).networks[0].nad == "prod/net"
    del document["metadata"]["namespace"]
    assert machine(document).networks[0].nad == "default/net"


@pytest.mark.parametrize("empty", [{}, {"networks": [], "interfaces": []}, {"networks": None, "interfaces": None}])
def test_without_networks_the_pod_network_is_added(empty: dict[str, Any]) -> None:
    found = machine(vmi(**empty))
    assert found.networks == (GuestNetwork(name="default"),)
    assert found.nics == (GuestNic(name="default", binding=Binding.MASQUERADE),)


def test_unless_the_manifest_says_no() -> None:
    found = machine(vmi(devices={"autoattachPodInterface": False}))
    assert (found.networks, found.nics) == ((), ())
    assert machine(vmi(devices={"autoattachPodInterface": True})).nics


def test_the_network_between_guest_and_pod() -> None:
    pod = {"vmNetworkCIDR": "192.168.66.0/30", "vmIPv6NetworkCIDR": "fd00:66::/126"}
    found = machine(vmi([{"name": "default", "pod": pod}], [MASQUERADE])).networks[0]
    assert (found.cidr, found.cidr6) == (Cidr("192.168.66.0/30"), Cidr("fd00:66::/126"))
    plain = machine(vmi([POD_NETWORK], [MASQUERADE])).networks[0]
    assert (plain.cidr, plain.cidr6) == (Cidr("10.0.2.0/24"), Cidr("fd10:0:2::/120"))


@pytest.mark.parametrize(
    ("key", "text", "code"),
    [
        ("vmNetworkCIDR", "10.0.2.0/31", "out-of-range"),
        ("vmIPv6NetworkCIDR", "fd00::/127", "out-of-range"),
        ("vmNetworkCIDR", "fd00::/64", "address-invalid"),
        ("vmIPv6NetworkCIDR", "10.0.0.0/24", "address-invalid"),
        ("vmNetworkCIDR", "10.0.2.0", "address-invalid"),
        ("vmNetworkCIDR", "10.0.2.0/255.255.255.0", "address-invalid"),
        ("vmNetworkCIDR", 10, "wrong-type"),
    ],
)
def test_no_network_between_guest_and_pod(key: str, text: Any, code: str) -> None:
    document = vmi([{"name": "default", "pod": {key: text}}], [MASQUERADE])
    assert said(document) == [(code, f"networks[0].pod.{key}")]


def test_networks_and_interfaces_find_each_other_by_name() -> None:
    found = said(vmi([POD_NETWORK, {"name": "b", "pod": {}}], [MASQUERADE, {"name": "c", "bridge": {}}]))
    assert found == [
        ("network-missing", "domain.devices.interfaces[1]"),
        ("interface-missing", "networks[1]"),
        ("network-second-pod", "networks[1]"),
    ]
    assert said(vmi([POD_NETWORK], [])) == [("interface-missing", "networks[0]")]
    assert said(vmi([], [MASQUERADE])) == [("network-missing", "domain.devices.interfaces[0]")]


def test_one_network_at_most_is_the_pods_first() -> None:
    default = {"name": "a", "multus": {"networkName": "x", "default": True}}
    assert machine(vmi([default], [{"name": "a", "bridge": {}}])).networks[0].default
    found = said(vmi([default, POD_NETWORK], [{"name": "a", "bridge": {}}, MASQUERADE]))
    assert found == [("network-second-pod", "networks[1]")]


def test_names_stand_once() -> None:
    found = said(vmi([POD_NETWORK, POD_NETWORK], [MASQUERADE, MASQUERADE]))
    assert found == [("duplicate", "domain.devices.interfaces[1].name"), ("duplicate", "networks[1].name")]


def test_the_same_nad_twice_is_two_networks() -> None:
    nets = [{"name": n, "multus": {"networkName": "net"}} for n in "ab"]
    assert [n.nad for n in machine(vmi(nets, [{"name": n, "bridge": {}} for n in "ab"])).networks] == ["prod/net"] * 2


@pytest.mark.parametrize(
    ("network", "code", "path"),
    [
        ({}, "network-kind", "networks[0]"),
        ({"pod": {}, "multus": {"networkName": "x"}}, "network-kind", "networks[0]"),
        ({"multus": {}}, "required", "networks[0].multus.networkName"),
        ({"multus": {"networkName": ""}}, "required", "networks[0].multus.networkName"),
        ({"multus": {"networkName": "a/b/c"}}, "name-invalid", "networks[0].multus.networkName"),
        ({"multus": {"networkName": "A"}}, "name-invalid", "networks[0].multus.networkName"),
        ({"multus": "x"}, "wrong-type", "networks[0].multus"),
        ({"pod": [1]}, "wrong-type", "networks[0].pod"),
    ],
)
def test_what_is_no_network(network: dict[str, Any], code: str, path: str) -> None:
    found = said(vmi([{"name": "a", **network}], [{"name": "a", "bridge": {}}]))
    assert (code, path) in found


@pytest.mark.parametrize("name", ["Web", "a_b", "-a", "x" * 64, ""])
def test_a_network_has_a_dns_label_as_its_name(name: str) -> None:
    found = said(vmi([{"name": name, "pod": {}}], [{"name": name, "masquerade": {}}]))
    code = "name-invalid" if name else "required"
    assert found == [(code, "domain.devices.interfaces[0].name"), (code, "networks[0].name")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "binding"),
        ({"bridge": None}, "binding"),
        ({"bridge": {}, "masquerade": {}}, "binding"),
        ({"binding": {}}, "required"),
        ({"bridge": "yes"}, "wrong-type"),
    ],
)
def test_one_binding_that_is_made_here(fields: dict[str, Any], code: str) -> None:
    (found,) = problems(vmi([POD_NETWORK], [{"name": "default", **fields}]))
    assert found.code == code
    assert code == "wrong-type" or found.hint, "no way out"


def test_masquerade_is_for_the_pod_network() -> None:
    found = said(vmi([{"name": "a", "multus": {"networkName": "x"}}], [{"name": "a", "masquerade": {}}]))
    assert found == [("binding-network", "domain.devices.interfaces[0].masquerade")]


@pytest.mark.parametrize(
    ("fields", "code", "where"),
    [
        ({"model": "virtio-net"}, "not-a-choice", "model"),
        ({"macAddress": "02:00:00:00:00"}, "mac-invalid", "macAddress"),
        ({"macAddress": "03:00:00:00:00:01"}, "mac-invalid", "macAddress"),
        ({"macAddress": "00:00:00:00:00:00"}, "mac-invalid", "macAddress"),
        ({"bootOrder": 0}, "out-of-range", "bootOrder"),
        ({"bootOrder": "1"}, "wrong-type", "bootOrder"),
        ({"acpiIndex": 0}, "out-of-range", "acpiIndex"),
        ({"acpiIndex": 16384}, "out-of-range", "acpiIndex"),
        ({"pciAddress": "0:1.0"}, "pci-invalid", "pciAddress"),
        ({"state": "DOWN"}, "not-a-choice", "state"),
        ({"state": "absent"}, "state-absent", "state"),
        ({"ports": [{"port": 0}]}, "out-of-range", "ports[0].port"),
        ({"ports": [{"name": "web"}]}, "required", "ports[0].port"),
        ({"ports": [{"port": 1, "protocol": "SCTP"}]}, "not-a-choice", "ports[0].protocol"),
        ({"ports": [{"port": 1}, {"port": 1, "protocol": "tcp"}]}, "duplicate", "ports[1]"),
        ({"ports": {"port": 1}}, "wrong-type", "ports"),
        ({"dhcpOptions": {"ntpServers": ["pool.example"]}}, "address-invalid", "dhcpOptions.ntpServers[0]"),
        ({"dhcpOptions": {"bootFileName": "a\nport=53"}}, "dhcp-option", "dhcpOptions.bootFileName"),
        ({"dhcpOptions": {"tftpServerName": 'a"b'}}, "dhcp-option", "dhcpOptions.tftpServerName"),
        (
            {"dhcpOptions": {"privateOptions": [{"option": 223, "value": "x"}]}},
            "out-of-range",
            "dhcpOptions.privateOptions[0].option",
        ),
        (
            {"dhcpOptions": {"privateOptions": [{"option": 224, "value": "x"}] * 2}},
            "duplicate",
            "dhcpOptions.privateOptions[1]",
        ),
    ],
)
def test_what_an_interface_cannot_be(fields: dict[str, Any], code: str, where: str) -> None:
    assert nic(masquerade={}, **fields) == [(code, f"domain.devices.interfaces[0].{where}")]


def test_ports_and_dhcp_options() -> None:
    options = {
        "bootFileName": "pxe,linux.0",
        "tftpServerName": "tftp.example",
        "ntpServers": ["10.0.0.1", "10.0.0.2"],
        "privateOptions": [{"option": 240, "value": "x y"}],
    }
    ports = [{"port": 80}, {"port": 53, "protocol": "UDP", "name": "dns"}]
    document = vmi([POD_NETWORK], [{"name": "default", "masquerade": {}, "ports": ports, "dhcpOptions": options}])
    found = machine(document).nics[0]
    assert found.ports == (ForwardedPort(port=80), ForwardedPort(port=53, protocol="UDP", name="dns"))
    assert found.dhcp == DhcpOptions(
        boot_file="pxe,linux.0",
        tftp_server="tftp.example",
        ntp_servers=("10.0.0.1", "10.0.0.2"),
        private=((240, "x y"),),
    )


def test_all_that_is_wrong_is_said_at_once() -> None:
    document = vmi(
        [{"name": "a", "multus": {"networkName": "A"}}, {"name": "b"}],
        [
            {"name": "a", "bridge": {}, "masquerade": {}, "model": "x"},
            {"name": "b", "bridge": {}, "macAddress": "x", "bootOrder": -1},
        ],
        domain={"memory": {"guest": "1x"}, "cpu": {"cores": 0}, "machine": {"type": 1}},
    )
    found = problems(document)
    assert sorted(p.code for p in found) == sorted(
        [
            *("name-invalid", "network-kind", "binding", "not-a-choice", "mac-invalid", "out-of-range"),
            *("quantity-invalid", "out-of-range", "wrong-type"),
        ]
    )
    assert all(p.line for p in found)
    assert {p.about for p in found} == {Ref("VirtualMachineInstance", "web", "prod")}


def test_a_slip_of_the_pen_is_a_warning() -> None:
    document = vmi([POD_NETWORK], [{**MASQUERADE, "macAdress": "02:00:00:00:00:01"}])
    (found,) = problems(document)
    assert (found.code, found.severity) == ("unknown-field", Severity.WARNING)
    assert found.hint == "did you mean macAddress?"


# -- the rest of the machine ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "memory"),
    [
        ({}, 256 << 20),
        ({"memory": {"guest": "1Gi"}}, 1 << 30),
        ({"memory": {"guest": "1.5Gi"}}, 3 << 29),
        ({"memory": {"guest": "512M"}}, 512_000_000),
        ({"memory": {"guest": 268435456}}, 256 << 20),
        ({"memory": {"guest": "1e9"}}, 10**9),
        ({"resources": {"requests": {"memory": "128Mi"}}}, 128 << 20),
        ({"resources": {"limits": {"memory": "64Mi"}}}, 64 << 20),
        ({"memory": {"guest": "1Gi"}, "resources": {"requests": {"memory": "2Gi"}}}, 1 << 30),
    ],
)
def test_memory(domain: dict[str, Any], memory: int) -> None:
    assert machine(vmi(domain=domain)).memory == memory


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("-1Gi", "quantity-invalid"),
        ("1GB", "quantity-invalid"),
        ("one", "quantity-invalid"),
        (True, "wrong-type"),
        ([1], "wrong-type"),
    ],
)
def test_no_memory(value: Any, code: str) -> None:
    assert said(vmi(domain={"memory": {"guest": value}})) == [(code, "domain.memory.guest")]


@pytest.mark.parametrize(
    ("domain", "shape"),
    [
        ({}, (1, 1, 1)),
        ({"cpu": {"cores": 4}}, (4, 1, 1)),
        ({"cpu": {"cores": 2, "sockets": 2, "threads": 2}}, (2, 2, 2)),
        ({"resources": {"requests": {"cpu": "1500m"}}}, (2, 1, 1)),
        ({"resources": {"limits": {"cpu": 3}}}, (3, 1, 1)),
        ({"cpu": {"sockets": 2}, "resources": {"requests": {"cpu": "8"}}}, (1, 2, 1)),
    ],
)
def test_cpus(domain: dict[str, Any], shape: tuple[int, int, int]) -> None:
    found = machine(vmi(domain=domain))
    assert (found.cores, found.sockets, found.threads) == shape


@pytest.mark.parametrize("size", ["8Mi", "5Ti", 0])
def test_memory_that_no_guest_gets_here(size: Any) -> None:
    assert lacking(vmi(domain={"memory": {"guest": size}})) == [("out-of-range", "domain.memory.guest")]


def test_too_many_cpus() -> None:
    assert lacking(vmi(domain={"cpu": {"cores": 16, "sockets": 16}})) == [("out-of-range", "domain.cpu")]
    assert said(vmi(domain={"cpu": {"cores": 0}})) == [("out-of-range", "domain.cpu.cores")]


@pytest.mark.parametrize("model", ["Haswell-noTSX-IBRS", "486", "qemu64", "EPYC-v4", "Opteron_G1", "host-model"])
def test_cpu_models(model: str) -> None:
    assert machine(vmi(domain={"cpu": {"model": model}})).cpu_model == model


@pytest.mark.parametrize("model", ["help", "?", "qemu64,+avx", "a\0", "-hmm", "a b", "x" * 65])
def test_what_qemu_would_take_for_something_else_than_a_cpu_model(model: str) -> None:
    assert lacking(vmi(domain={"cpu": {"model": model}})) == [("cpu-model", "domain.cpu.model")]


@pytest.mark.parametrize("kind", ["VirtualMachine", "VirtualMachineInstance"])
def test_a_machines_name_fits_into_the_names_of_its_files(kind: str) -> None:
    document = vmi() if kind == "VirtualMachineInstance" else vm(vmi())
    document["metadata"]["name"] = "x" * NAME_MAX
    assert lacking(document) == []
    document["metadata"]["name"] += "x"
    assert lacking(document) == [("name-too-long", "metadata.name")]


@pytest.mark.parametrize("kind", ["q35", "pc-q35-7.2", "pc", "pc-i440fx-7.2"])
def test_machine_types(kind: str) -> None:
    assert machine(vmi(domain={"machine": {"type": kind}})).machine == kind


def test_a_kernel_of_this_host() -> None:
    boot = {"container": {"kernelPath": "/boot/vmlinuz", "initrdPath": "/boot/initrd"}, "kernelArgs": "console=ttyS0"}
    found = machine(vmi(domain={"firmware": {"kernelBoot": boot}}))
    assert found.kernel == KernelBoot(kernel="/boot/vmlinuz", initrd="/boot/initrd", arguments="console=ttyS0")


@pytest.mark.parametrize(
    ("boot", "code", "where"),
    [
        ({"container": {"kernelPath": "boot/k"}}, "path-invalid", "container.kernelPath"),
        ({"kernelArgs": "quiet"}, "kernel-missing", "kernelArgs"),
        ({"container": {"initrdPath": "/i"}}, "kernel-missing", "container"),
        ({"container": {"kernelPath": "/k"}, "kernelArgs": "a\0b"}, "kernel-args", "kernelArgs"),
        ({"container": {"kernelPath": "/k"}, "kernelArgs": "quiet\x1b[2J"}, "kernel-args", "kernelArgs"),
    ],
)
def test_no_kernel(boot: dict[str, Any], code: str, where: str) -> None:
    assert said(vmi(domain={"firmware": {"kernelBoot": boot}})) == [(code, f"domain.firmware.kernelBoot.{where}")]


def storage(disks: list[Any], volumes: list[Any]) -> dict[str, Any]:
    return vmi(devices={"disks": disks}, volumes=volumes)


def test_disks_of_this_host() -> None:
    found = machine(
        storage(
            [
                {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
                {"name": "data"},
                {"name": "tools", "cdrom": {"bus": "sata"}},
            ],
            [
                {"name": n, "hostDisk": {"path": f"/srv/{n}.{s}", "type": "Disk"}}
                for n, s in (("root", "qcow2"), ("data", "img"), ("tools", "iso"))
            ],
        )
    )
    assert found.disks == (
        Disk(name="root", path="/srv/root.qcow2", boot_order=1),
        Disk(name="data", path="/srv/data.img", bus="sata"),
        Disk(name="tools", path="/srv/tools.iso", bus="sata", read_only=True),
    )
    assert [disk.image_format for disk in found.disks] == ["qcow2", "raw", "raw"]


@pytest.mark.parametrize(
    ("seed", "found"),
    [
        ({"userData": "#cloud-config\n"}, CloudInit(user_data="#cloud-config\n")),
        ({"userDataBase64": base64.b64encode("grüß".encode()).decode()}, CloudInit(user_data="grüß")),
        ({"networkData": "version: 2\n", "metaData": "x: y"}, CloudInit(network_data="version: 2\n", meta_data="x: y")),
        ({"networkDataBase64": "dmVyc2lvbjogMg=="}, CloudInit(network_data="version: 2")),
    ],
)
def test_cloud_init(seed: dict[str, str], found: CloudInit) -> None:
    document = storage([{"name": "seed", "disk": {"bus": "virtio"}}], [{"name": "seed", "cloudInitNoCloud": seed}])
    assert machine(document).cloud_init == found
    assert machine(document).disks == ()


@pytest.mark.parametrize(
    ("volume", "code", "where"),
    [
        ({}, "volume-kind", ""),
        ({"hostDisk": {"path": "/a"}, "emptyDisk": {}}, "volume-kind", ""),
        ({"hostDisk": {}}, "required", "hostDisk.path"),
        ({"hostDisk": {"path": "a.img"}}, "path-invalid", "hostDisk.path"),
        ({"cloudInitNoCloud": {"userDataBase64": "%"}}, "cloud-init", "cloudInitNoCloud.userDataBase64"),
        (
            {"cloudInitNoCloud": {"userData": "a", "userDataBase64": "YQ=="}},
            "cloud-init",
            "cloudInitNoCloud.userDataBase64",
        ),
    ],
)
def test_what_a_disk_cannot_have_in_it(volume: dict[str, Any], code: str, where: str) -> None:
    found = said(storage([{"name": "a", "disk": {}}], [{"name": "a", **volume}]))
    assert found == [(code, "volumes[0]" + (f".{where}" if where else ""))]


def test_a_disk_needs_its_volume() -> None:
    for how in ({}, {"disk": {"bus": "virtio"}}):
        assert said(storage([{"name": "a", **how}], [])) == [("volume-missing", "domain.devices.disks[0]")]


def test_a_volume_without_a_disk_gets_one_as_from_kubevirt() -> None:
    (found,) = machine(storage([], [{"name": "root", "hostDisk": {"path": "/srv/root.img", "type": "Disk"}}])).disks
    assert found == Disk(name="root", path="/srv/root.img", bus="sata")
    seed = {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\n"}}
    assert machine(storage([], [seed])).cloud_init == CloudInit(user_data="#cloud-config\n")


def test_a_volume_that_is_a_file_system_of_the_guest_is_no_disk() -> None:
    document = vmi(
        devices={"filesystems": [{"name": "share", "virtiofs": {}}]},
        volumes=[{"name": "share", "hostDisk": {"path": "/srv/share.img", "type": "Disk"}}],
    )
    (found,) = problems(document)
    assert (found.code, found.path) == ("field-without-effect", "spec.domain.devices.filesystems")
    (obj,) = load_documents(yaml.safe_dump(document)).objects
    assert isinstance(obj, VirtualMachineInstance)
    assert (obj.spec.disks, obj.spec.lacks) == ((), ())


@pytest.mark.parametrize("bus", ["sata", "scsi"])
def test_a_drive_without_a_cd(bus: str) -> None:
    (found,) = machine(storage([{"name": "cd", "cdrom": {"bus": bus}, "bootOrder": 2}], [])).disks
    assert found == Disk(name="cd", path="", bus=bus, read_only=True, boot_order=2)
    assert said(storage([{"name": "cd", "cdrom": {"bus": "virtio"}}], [])) == [
        ("disk-kind", "domain.devices.disks[0].cdrom")
    ]


@pytest.mark.parametrize("kind", ["Disk", "DiskOrCreate"])
def test_an_image_of_the_host_is_taken_where_it_is_there(kind: str) -> None:
    volume = {"name": "a", "hostDisk": {"path": "/a.img", "type": kind, "capacity": "1Gi"}}
    assert machine(storage([{"name": "a", "disk": {}}], [volume])).disks == (Disk(name="a", path="/a.img", bus="sata"),)


NET = {"name": "a", "multus": {"networkName": "net"}}
HELD = {"name": "a", "hostDisk": {"path": "/a", "type": "Disk"}}


def _held(disk: dict[str, Any]) -> dict[str, Any]:
    return storage([{"name": "a", **disk}], [HELD])


def _holding(volume: dict[str, Any]) -> dict[str, Any]:
    return storage([{"name": "a", "disk": {}}], [{"name": "a", **volume}])


def _nic(fields: dict[str, Any]) -> dict[str, Any]:
    return vmi([NET], [{"name": "a", **fields}])


@pytest.mark.parametrize(
    ("document", "code", "where", "hypervisor"),
    [
        *(
            (_holding({kind: content}), "volume-unsupported", f"volumes[0].{kind}", True)
            for kind, content in {
                "containerDisk": {"image": "x"},
                "dataVolume": {"name": "x"},
                "persistentVolumeClaim": {"claimName": "x"},
                "ephemeral": {"persistentVolumeClaim": {"claimName": "x"}},
                "emptyDisk": {"capacity": "1Gi"},
                "cloudInitConfigDrive": {"userData": "x"},
                "configMap": {"name": "x"},
                "secret": {"secretName": "x"},
                "serviceAccount": {"serviceAccountName": "x"},
                "sysprep": {"configMap": {"name": "x"}},
                "novel": {},
            }.items()
        ),
        (
            _holding({"cloudInitNoCloud": {"secretRef": {"name": "x"}}}),
            "volume-unsupported",
            "volumes[0].cloudInitNoCloud.secretRef",
            True,
        ),
        (
            _holding({"cloudInitNoCloud": {"userData": "x", "networkDataSecretRef": {"name": "x"}}}),
            "volume-unsupported",
            "volumes[0].cloudInitNoCloud.networkDataSecretRef",
            True,
        ),
        (_held({"disk": {"bus": "usb"}}), "disk-bus", "domain.devices.disks[0].disk.bus", True),
        (_held({"lun": {"bus": "scsi"}}), "disk-kind", "domain.devices.disks[0].lun", True),
        (vmi(domain={"machine": {"type": "virt"}}), "machine-type", "domain.machine.type", True),
        (
            vmi(domain={"firmware": {"kernelBoot": {"container": {"image": "x", "kernelPath": "/k"}}}}),
            "container-image",
            "domain.firmware.kernelBoot.container.image",
            True,
        ),
        *(
            (_nic({kind: {}}), "binding-unsupported", f"domain.devices.interfaces[0].{kind}", False)
            for kind in ("sriov", "passt", "passtBinding", "slirp", "macvtap")
        ),
        (
            _nic({"binding": {"name": "other"}}),
            "binding-unsupported",
            "domain.devices.interfaces[0].binding.name",
            False,
        ),
        (
            vmi([POD_NETWORK], [{**MASQUERADE, "portRanges": [{"start": 1, "end": 2}]}]),
            "port-ranges",
            "domain.devices.interfaces[0].portRanges",
            False,
        ),
        (
            vmi([{"name": "a", "resourceClaim": {"claimName": "x"}}], [{"name": "a", "bridge": {}}]),
            "network-kind",
            "networks[0].resourceClaim",
            False,
        ),
    ],
)
def test_what_kubevirt_takes_is_read_and_what_is_not_made_here_is_a_lack(
    document: dict[str, Any], code: str, where: str, hypervisor: bool
) -> None:
    (found,) = lacks(document)
    assert (found.code, found.path, found.hypervisor) == (code, f"spec.{where}", hypervisor)
    assert found.message
    assert found.hint, "no way out"


def test_the_network_of_a_machine_counts_whatever_it_lacks() -> None:
    found = machine(_nic({"sriov": {}, "macAddress": "02:00:00:00:00:01"}))
    assert found.networks == (GuestNetwork(name="a", nad="prod/net"),)
    assert found.nics == (GuestNic(name="a", binding=Binding.BRIDGE, mac=Mac("02:00:00:00:00:01")),)


# -- on which nodes --------------------------------------------------------------------------------------


def affinity(*terms: Any) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def test_required_node_affinity() -> None:
    cpus = {"key": "cpus", "operator": "Gt", "values": ["4"]}
    one = {"matchExpressions": [{"key": "rack", "operator": "In", "values": ["a", "b"]}, cpus]}
    other = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert machine(vmi(affinity=affinity(one, other))).node_terms == (
        NodeTerm(
            labels=(
                Requirement(key="rack", operator=Operator.IN, values=("a", "b")),
                Requirement(key="cpus", operator=Operator.GREATER, values=("4",)),
            )
        ),
        NodeTerm(names=(Requirement(key="metadata.name", operator=Operator.IN, values=("n1",)),)),
    )
    assert machine(vmi(affinity={"nodeAffinity": {}, "podAntiAffinity": {}})).node_terms is None
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": one}]}
    assert machine(vmi(affinity={"nodeAffinity": preferred})).node_terms is None


@pytest.mark.parametrize(
    ("term", "code", "where"),
    [
        ({"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}, "not-a-choice", "[0].operator"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "required", "[0].values"),
        ({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["b"]}]}, "selector-invalid", "[0].values"),
        ({"matchExpressions": [{"operator": "Exists"}]}, "required", "[0].key"),
        ({"matchExpressions": {"a": "b"}}, "wrong-type", ""),
    ],
)
def test_no_node_affinity(term: dict[str, Any], code: str, where: str) -> None:
    place = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions"
    assert said(vmi(affinity=affinity(term))) == [(code, place + where)]


@pytest.mark.parametrize(
    ("disk", "code"),
    [
        ({"disk": {"bus": "pcmcia"}}, "not-a-choice"),
        ({"disk": {}, "cdrom": {}}, "disk-kind"),
        ({"bootOrder": 0}, "out-of-range"),
    ],
)
def test_what_is_no_disk(disk: dict[str, Any], code: str) -> None:
    document = storage([{"name": "a", **disk}], [{"name": "a", "hostDisk": {"path": "/a", "type": "Disk"}}])
    assert [p.code for p in problems(document)] == [code]


def test_disks_and_interfaces_stand_in_one_boot_order() -> None:
    document = vmi(
        [POD_NETWORK],
        [{**MASQUERADE, "bootOrder": 1}],
        devices={"disks": [{"name": "a", "bootOrder": 1}]},
        volumes=[{"name": "a", "hostDisk": {"path": "/a", "type": "Disk"}}],
    )
    assert said(document) == [("duplicate", "domain.devices.interfaces")]


@pytest.mark.parametrize(
    ("kind", "addresses", "wrong"),
    [
        ("q35", ["0000:01:00.0", "0000:02:00.0"], 0),
        ("q35", ["0000:02:00.0", "0000:01:00.0"], 0),
        ("q35", ["0000:03:00.0", ""], 0),
        ("q35", ["0000:00:05.0", "0000:06:00.0"], 0),
        ("q35", ["0000:02:00.0", ""], 1),  # the port of the other one
        ("q35", ["0000:01:00.0", "0000:01:00.0"], 1),
        ("q35", ["0000:01:01.0", ""], 1),
        ("q35", ["0000:81:01.0", ""], 1),
        ("q35", ["0000:00:10.0", ""], 1),
        ("q35", ["0000:00:02.0", ""], 1),
        ("pc", ["0000:00:10.0", ""], 0),
        ("pc", ["0000:01:00.0", ""], 1),
    ],
)
def test_pci_addresses_of_the_guest(kind: str, addresses: list[str], wrong: int) -> None:
    nets = [{"name": n, "multus": {"networkName": "net"}} for n in "ab"]
    nics = [{"name": n, "bridge": {}, **({"pciAddress": a} if a else {})} for n, a in zip("ab", addresses, strict=True)]
    document = vmi(nets, nics, domain={"machine": {"type": kind}})
    assert lacking(document) == [("pci-invalid", "domain.devices.interfaces")] * wrong


# -- VirtualMachine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"running": True}, "Always"),
        ({"running": False}, "Halted"),
        ({"runStrategy": "Manual"}, "Manual"),
        ({}, ""),
    ],
)
def test_run_strategy(given: dict[str, Any], found: str) -> None:
    (obj,) = load_documents(yaml.safe_dump(vm(vmi(), **given))).objects
    assert isinstance(obj, VirtualMachine)
    assert obj.run_strategy == found


def test_two_run_strategies_are_one_too_many() -> None:
    assert said(vm(vmi(), running=True, runStrategy="Always")) == [("run-strategy", "running")]
    assert said(vm(vmi(), runStrategy="always")) == [("not-a-choice", "runStrategy")]


def test_the_machine_of_a_template() -> None:
    document = vm(vmi([POD_NETWORK], [MASQUERADE], hostname="www", nodeSelector={"rack": "7"}), runStrategy="Always")
    document["spec"]["template"]["metadata"] = {"labels": {"app": "web"}, "annotations": {"a": "b"}}
    (obj,) = load_documents(yaml.safe_dump(document)).objects
    assert isinstance(obj, VirtualMachine)
    assert obj.template == Meta(name="", labels={"app": "web"}, annotations={"a": "b"})
    assert (obj.spec.hostname, obj.spec.node_selector) == ("www", (("rack", "7"),))


@pytest.mark.parametrize("spec", [{"template": {"spec": {}}}, {}, {"template": 1}])
def test_a_machine_needs_a_template_and_a_domain(spec: dict[str, Any]) -> None:
    (found,) = problems({**vm(vmi()), "spec": spec})
    assert found.code in ("required", "wrong-type")


def test_problems_of_a_template_stand_below_it() -> None:
    document = vm(vmi([POD_NETWORK], [{"name": "default", "sriov": {}, "model": "x"}]), running=True)
    (found,) = problems(document)
    assert found.path == "spec.template.spec.domain.devices.interfaces[0].model"
    del document["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0]["model"]
    (lack,) = lacks(document)
    assert lack.path == "spec.template.spec.domain.devices.interfaces[0].sriov"


def test_fields_of_kubevirt_that_are_not_ours_are_kept_without_a_word() -> None:
    document = vm(
        vmi(
            [POD_NETWORK],
            [MASQUERADE],
            domain={
                "cpu": {"cores": 1, "maxSockets": 4, "dedicatedCpuPlacement": True, "features": [{"name": "x"}]},
                "memory": {"guest": "1Gi", "maxGuest": "2Gi", "hugepages": {"pageSize": "2Mi"}},
                "features": {"acpi": {}, "smm": {"enabled": True}},
                "clock": {"utc": {}},
                "ioThreadsPolicy": "auto",
            },
            devices={"rng": {}, "inputs": [{"type": "tablet", "bus": "usb", "name": "t"}], "blockMultiQueue": True},
            evictionStrategy="LiveMigrateIfPossible",
            terminationGracePeriodSeconds=30,
            affinity={"nodeAffinity": {}},
            tolerations=[{"key": "x"}],
            accessCredentials=[],
        ),
        runStrategy="RerunOnFailure",
        dataVolumeTemplates=[],
    )
    loaded = load_documents(yaml.safe_dump(document))
    assert loaded.problems == ()
    assert dump(loaded.objects[0]) == document


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (vm(vmi(), runStrategy="Always", instancetype={"name": "small"}), "spec.instancetype"),
        (vmi(domain={"firmware": {"bootloader": {"efi": {}}}}), "spec.domain.firmware.bootloader"),
        (vmi(devices={"gpus": [{"name": "x"}]}), "spec.domain.devices.gpus"),
    ],
)
def test_what_a_machine_here_would_silently_lack_is_a_warning(document: dict[str, Any], where: str) -> None:
    (found,) = problems(document)
    assert (found.code, found.path, found.severity) == ("field-without-effect", where, Severity.WARNING)


# -- written and read again ------------------------------------------------------------------------------

FULL = MachineSpec(
    networks=(
        GuestNetwork(name="default", cidr=Cidr("192.168.9.0/24")),
        GuestNetwork(name="a", nad="ns/a"),
        GuestNetwork(name="b", nad="other/b"),
    ),
    nics=(
        GuestNic(
            name="default",
            binding=Binding.MASQUERADE,
            ports=(ForwardedPort(port=80, name="http"), ForwardedPort(port=53, protocol="UDP")),
            dhcp=DhcpOptions(boot_file="a", tftp_server="b", ntp_servers=("10.0.0.1",), private=((230, "x"),)),
        ),
        GuestNic(
            name="a",
            binding=Binding.BRIDGE,
            model=NicModel.E1000,
            mac=Mac("02:00:00:00:00:01"),
            boot_order=2,
            pci_address="0000:07:00.0",
            acpi_index=5,
            tag="t",
        ),
        GuestNic(name="b", binding=Binding.MANAGED_TAP, state=LinkState.DOWN),
    ),
    cores=2,
    sockets=2,
    threads=2,
    memory=384 << 20,
    machine="pc-q35-7.2",
    cpu_model="host-model",
    kernel=KernelBoot(kernel="/k", initrd="/i", arguments="quiet"),
    disks=(
        Disk(name="d", path="/d.qcow2", boot_order=1),
        Disk(name="e", path="/e.img", bus="scsi", read_only=True),
        Disk(name="f", path="", bus="sata", read_only=True),
    ),
    cloud_init=CloudInit(user_data="#cloud-config\n", network_data="version: 2\n", meta_data="instance-id: x\n"),
    multiqueue=True,
    hostname="h",
    subdomain="s",
    node_selector=(("a", "b"),),
    node_terms=(
        NodeTerm(labels=(Requirement(key="a", operator=Operator.LESS, values=("3",)),)),
        NodeTerm(names=(Requirement(key="metadata.name", operator=Operator.NOT_IN, values=("n",)),)),
    ),
)


@pytest.mark.parametrize(
    "obj",
    [
        VirtualMachineInstance(meta=Meta(name="x", namespace="ns"), spec=FULL),
        VirtualMachineInstance(meta=Meta(name="x", namespace="ns"), spec=MachineSpec()),
        VirtualMachine(
            meta=Meta(name="x", namespace="ns"),
            spec=FULL,
            run_strategy="Always",
            template=Meta(name="", labels={"a": "b"}),
        ),
        Node(meta=Meta(name="n"), pod_cidrs=(Cidr("10.52.0.0/24"), Cidr("fd00:52::/64"))),
        Node(meta=Meta(name="n"), pod_cidrs=(Cidr("10.52.0.0/24"),)),
    ],
    ids=lambda obj: f"{obj.KIND}",
)
def test_round(obj: AnyObject) -> None:
    loaded = load_documents(yaml_text(dump(obj)))
    assert loaded.problems == ()
    assert loaded.objects == (obj,)


# -- Node ------------------------------------------------------------------------------------------------


def node(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "cidrs"),
    [
        ({}, ()),
        ({"podCIDR": ""}, ()),
        ({"podCIDR": "10.52.1.0/24"}, ("10.52.1.0/24",)),
        ({"podCIDR": "10.52.1.0/24", "podCIDRs": ["10.52.1.0/24", "fd00::/64"]}, ("10.52.1.0/24", "fd00::/64")),
        ({"podCIDRs": ["10.52.1.7/24"], "providerID": "x", "taints": []}, ("10.52.1.0/24",)),
    ],
)
def test_pod_cidrs_of_a_node(spec: dict[str, Any], cidrs: tuple[str, ...]) -> None:
    loaded = load_documents(yaml.safe_dump(node(**spec)))
    assert loaded.problems == ()
    (obj,) = loaded.objects
    assert isinstance(obj, Node)
    assert obj.pod_cidrs == cidrs


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"podCIDR": "10.52.1.0"}, [("address-invalid", "podCIDR")]),
        ({"podCIDRs": "10.52.1.0/24"}, [("wrong-type", "podCIDRs")]),
        ({"podCIDRs": ["10.52.1.0/24", "10.53.1.0/24"]}, [("duplicate", "podCIDRs[1]")]),
        ({"podCIDR": "10.52.1.0/24", "podCIDRs": ["10.53.1.0/24"]}, [("podcidr-differs", "podCIDR")]),
    ],
)
def test_no_pod_cidrs(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert said(node(**spec)) == expected
