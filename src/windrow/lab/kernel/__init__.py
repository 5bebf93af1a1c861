"""A kernel to run a lab in. Only its start and its end are here; nothing of what the lab does inside."""
