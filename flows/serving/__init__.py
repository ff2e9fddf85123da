"""The parts of the flow server: what comes in, how a turn runs, what goes out."""
