"""A reader follows docs/user/real-host.md on a Debian whose bond and bridge another program has made. Its commands are
the page's own, typed on the console; meanwhile frames go through the bond. Run by `make test-systemd`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.docs.blocks import Block, Command, agrees, all_blocks
from tests.systemd.conftest import Site

PAGE = "docs/user/real-host.md"
STARTS = {"networkd": "systemctl enable --now systemd-networkd", "ifupdown": "systemctl restart networking"}
"""By the program that makes the network: how it is started."""
UNTAGGED, TAGGED = "10.0.0.5", "10.100.0.5"
REBOOT = "reboot"


def blocks_on(host: str) -> Iterator[Block]:
    return (b for b in all_blocks() if b.page == PAGE and host in b.said("tried on:").split(", "))


def prepared(site: Site, host: str) -> None:
    """As whoever set this Debian up left it: its own program has made the network."""
    site.debian.ok(f"cp -r /mnt/hosts/{host}/etc/. /etc/")
    site.debian.ok(STARTS[host])
    assert site.switch.reaches(UNTAGGED) and site.switch.reaches(TAGGED)
    site.debian.ok("cp -r /mnt/compiled/. / && cd /mnt")


def there(site: Site) -> Iterator[str]:
    """What somebody at the console looks at."""
    for command in (
        "ip address",
        "bridge vlan show",
        "windrow status",
        "journalctl --no-pager --boot --unit windrow-agent",
    ):
        yield f"# {command}"
        yield from site.debian.run(command)[0]


def typed(site: Site, block: Block, command: Command) -> None:
    """Ends well, prints what the page says, and loses no frame; a reader stops at what does not."""
    if command.text == REBOOT:
        site.debian.reboot()
        assert site.switch.reaches(UNTAGGED) and site.switch.reaches(TAGGED), "\n".join(there(site))
        return
    site.switch.begin_train(UNTAGGED)
    printed, code = site.debian.run(command.text)
    train = site.switch.end_train()
    said = "\n".join(printed)
    print(f"{block.name}: {command.text!r}: {train}\n{said}")
    assert code == 0, f"{command.text!r} ended with {code}:\n{said}"
    assert not command.output or agrees(command.output, printed), f"{command.text!r} printed:\n{said}"
    assert not train.lost, f"{command.text!r}: {train}: {train.lost[:20]}"


@pytest.mark.parametrize("host", STARTS)
def test_a_reader_follows_the_page(start: Callable[[], Site], host: str) -> None:
    site = start()
    prepared(site, host)
    for block in blocks_on(host):
        for command in block.commands:
            typed(site, block, command)
