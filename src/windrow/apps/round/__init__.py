"""The round, the only one: lock, look, admit, plan, guard, checkpoint, write, run, look, verify, remember.

`carry_out` does it. The command line, the agent, a start of the host and the lab choose a `Policy` and tell a `Report`.
"""

from windrow.apps.round.carry_out import carry_out
from windrow.apps.round.policy import Hooks, Policy
from windrow.apps.round.report import Report
from windrow.apps.round.source import Source
from windrow.apps.round.stored import Stored

__all__ = ["Hooks", "Policy", "Report", "Source", "Stored", "carry_out"]
