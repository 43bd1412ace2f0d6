"""Before it starts: bytes, time, memory and cost of a run."""
