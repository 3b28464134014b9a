"""The proof: models against checkpoints, frozen graphs and hub modules that somebody else made."""
