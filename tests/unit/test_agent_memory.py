"""An agent needs no more memory after ten thousand rounds than after a few: quiet ones, repairs, fights, edits, steps
that fail. `WINDROW_ROUNDS=10000` is how many are gone through."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.unit.test_agent_keeper import OOB, Host

from windrow.model.host import Bond
from windrow.model.steps import DeleteLink, SetBond, SetLink
from windrow.testing.builders import step

ROUNDS = int(os.environ.get("WINDROW_ROUNDS", "1000"))
ROOT = Path(__file__).resolve().parents[2]
KEPT_BYTES = 1 << 20
"""What the allocator may keep beside what is in use, over all rounds: of 10,000, a hundred bytes each would show."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def one(host: Host, dice: Random) -> None:
    """A round after one of these; what is not there, because it is fought about, takes no harm."""
    kind = dice.randrange(6)
    if kind == 0:
        host.kernel.run([step("oob-bo", SetBond(Bond(miimon=dice.randrange(20, 90))))])
    elif kind == 1:
        host.kernel.run([step("oob-br", SetLink(mtu=dice.randrange(1300, 1500)))])
    elif kind == 2:
        host.kernel.run([step("oob-br", DeleteLink())])
    elif kind == 3:
        host.write(OOB.replace("miimon: 100", f"miimon: {dice.randrange(100, 200)}"))
    elif kind == 4:
        host.kernel.run([step("oob-bo", SetBond(Bond(miimon=dice.randrange(20, 90))))])
        host.kernel.fail_at(1, errno.EBUSY)
    host.round()
    host.kernel.fail_at(1 << 30)
    host.pass_time(dice.choice([0.1, 1.0, 30.0, 400.0]))
    host.kernel.journal.clear()  # the instrument keeps count of all that was done to it
    host.kernel.interruptions.clear()
    host.log.seek(0)
    host.log.truncate()


def measured() -> tuple[int, int]:
    gc.collect()
    return len(gc.get_objects()), resident()


def test_memory_is_flat(tmp_path: Path) -> None:
    """In a process of its own: what the tests before have left free there, the allocator fills again or does not."""
    command = [sys.executable, "-m", __spec__.name, str(tmp_path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    more_objects, objects, more, size = map(int, done.stdout.split())
    print(f"\n{ROUNDS} rounds: {more_objects:+} objects of {objects}, {more / 1024:+.0f} KiB of {size >> 20} MiB")
    assert more_objects < 2000
    assert more < KEPT_BYTES


def main(place: Path) -> None:
    """How many objects more there are, of how many; how many bytes more, of how many."""
    host, dice = Host(place), Random(7)
    host.start()
    for _ in range(max(300, ROUNDS // 4)):
        one(host, dice)
    objects, size = measured()
    for _ in range(ROUNDS):
        one(host, dice)
    more_objects, more = measured()
    print(more_objects - objects, objects, more - size, size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
