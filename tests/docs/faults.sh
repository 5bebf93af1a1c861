# An agent that has seen what is out, and a change that nobody has confirmed yet.
windrow agent >/dev/null 2>&1 &
for _ in $(seq 60); do windrow status 2>/dev/null | grep -q "^the agent runs" && break; sleep 0.5; done
windrow init --nic eth0 --confirm 5m >/dev/null 2>&1 &
for _ in $(seq 120); do windrow status 2>/dev/null | grep -q "^pending" && break; sleep 0.5; done
