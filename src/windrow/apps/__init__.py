"""Where the rooms meet: only here are kernel, store, compile, plan and status joined into programs."""
