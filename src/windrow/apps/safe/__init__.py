"""Safe change: a checkpoint, a watchdog, a probe; and the way back."""
