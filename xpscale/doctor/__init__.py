"""Can this machine, these places and these workers do the work? Each finding with its remedy."""
