"""Exit codes of attempts that end without an answer. Takes nothing, gives numbers."""

CANCELLED = 130  # it was told to end; a shell says so of Ctrl-C
NOT_TAKEN = 75  # no cluster took it; sysexits.h calls it a temporary failure
