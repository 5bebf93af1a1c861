"""The webhook: what an API server asks before it stores an object of ours, answered from the rules."""
