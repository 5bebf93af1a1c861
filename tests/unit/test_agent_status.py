"""What the agent publishes: there and back, whose it is, and that rubbish is not believed."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from windrow.apps.agent.publish import Publisher, fresh_status
from windrow.apps.known import agent_status
from windrow.model.agentstatus import AgentStatus, Contest, OutsideFault, StepFailure
from windrow.model.events import Condition
from windrow.model.values import IfName, Ref
from windrow.model.wire.happenings import read_event, read_status, status_document
from windrow.store.agentstatus import read_agent_status
from windrow.store.errors import StoreError
from windrow.store.paths import Paths

OOB = Ref("VlanConfig", "oob")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def full_status() -> AgentStatus:
    link = IfName("oob-bo")
    return replace(
        fresh_status("node-0", 1.5),
        last_round=2.5,
        conditions=tuple(
            Condition(about=OOB, type=f"t{n}", status=status, reason="R", message="m \udcff", hint="h", since=3.5)
            for n, status in enumerate((True, False, None))
        ),
        failures=(
            StepFailure(about=OOB, link=link, message="busy", hint="wait", errno=16, attempts=3, since=1, retry=2),
        ),
        contests=(
            Contest(about=Ref("N", "a", "b"), link=link, field="miimon", repaired=3, since=1.0, rival="networkd"),
        ),
        outside=(OutsideFault(about=OOB, reason="Loop", place="tor-1", message="m", hint="h", grave=True, since=4.5),),
    )


def test_there_and_back(paths: Paths) -> None:
    status = full_status()
    Publisher(paths).publish(status)
    assert agent_status(paths) == status
    assert stat.S_IMODE(paths.agent_status.stat().st_mode) == 0o644
    assert os.listdir(paths.runtime) == ["agent.json"]


def test_the_mode_does_not_hang_on_the_umask(paths: Paths) -> None:
    old = os.umask(0o077)
    try:
        Publisher(paths).publish(full_status())
    finally:
        os.umask(old)
    assert stat.S_IMODE(paths.agent_status.stat().st_mode) == 0o644


def test_of_a_process_that_is_gone_nothing_is_believed(paths: Paths) -> None:
    status = full_status()
    Publisher(paths).publish(replace(status, ticks=status.ticks + 1))
    assert read_agent_status(paths) is not None
    assert agent_status(paths) is None, "the pid is ours now, and was another process's"
    Publisher(paths).publish(replace(status, pid=2**22 + 1))
    assert agent_status(paths) is None


def test_only_news_is_written(paths: Paths) -> None:
    publisher, status = Publisher(paths), full_status()
    assert publisher.publish(status)
    assert not publisher.publish(status)
    assert not publisher.publish(replace(status, last_round=status.last_round + 5)), "a round without news"
    assert publisher.publish(replace(status, last_round=status.last_round + 11))
    assert publisher.publish(replace(status, last_round=status.last_round + 11, contests=()))
    publisher.close()
    assert agent_status(paths) is None and os.listdir(paths.runtime) == []


def test_what_could_not_be_written_is_written_next_time(paths: Paths) -> None:
    publisher, status = Publisher(paths), full_status()
    paths.runtime.parent.mkdir(parents=True)
    paths.runtime.write_text("in the way")
    with pytest.raises(StoreError):
        publisher.publish(status)
    paths.runtime.unlink()
    assert publisher.publish(status)
    assert agent_status(paths) == status


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "1", '"x"', "{}", "[" * 100_000, '{"node": 1}', json.dumps({"node": "a", "pid": True})],
)
def test_rubbish(paths: Paths, text: str) -> None:
    paths.runtime.mkdir(parents=True)
    paths.agent_status.write_text(text)
    assert agent_status(paths) is None


@pytest.mark.parametrize("name", sorted(status_document(full_status())))
def test_a_document_that_lacks_something_is_refused(name: str) -> None:
    document = status_document(full_status())
    del document[name]
    with pytest.raises(ValueError, match=name):
        read_status(document)


@pytest.mark.parametrize("document", [None, [], {"type": "Bad"}, {"type": "Normal", "reason": 1}])
def test_events_are_checked_as_well(document: object) -> None:
    with pytest.raises(ValueError):
        read_event(document)  # type: ignore[arg-type]
