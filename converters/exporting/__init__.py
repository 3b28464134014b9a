"""Models for other runtimes and as TF-Hub modules."""
