"""Frozen graphs: what they say about the network, and how they are run safely."""
