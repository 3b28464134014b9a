"""TF-Hub modules: read as data, run, compared with, and written."""
