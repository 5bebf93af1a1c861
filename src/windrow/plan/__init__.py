"""Wanted HostState x Observed -> Plan. Pure: nothing here acts, so a dry run is simply not running the plan.

mutability  how each attribute may change          order     one function per ordering rule of the kernel
diff        what differs                           takeover  a bond's mode, changed make-before-break
units       what belongs together                  guard     what must not be touched
price       what a change costs, and why           hints     what to take away by hand, and where from
normal      an observed state as a wanted one      planner   all of it put together: make_plan
"""

from windrow.plan.guard import WAYS, changes_reachability
from windrow.plan.normal import aged, given_back, normalise
from windrow.plan.planner import make_plan

__all__ = ["WAYS", "aged", "changes_reachability", "given_back", "make_plan", "normalise"]
