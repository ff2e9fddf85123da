"""One worker, several processes: who starts, replaces and drains them."""
