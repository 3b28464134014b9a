"""The runtimes that run a model: one table, the cache of converted networks, and the choice among them."""
