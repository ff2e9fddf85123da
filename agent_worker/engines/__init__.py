"""Which engines there are, which are chosen, and how they are built."""
