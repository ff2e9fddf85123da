"""A small business to talk about: the data and the tools behind the router's agents."""
