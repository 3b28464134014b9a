"""Names of `converters`, so one import is enough. This module is imported on first use only: `mobilenets` needs no converter."""

from converters.conversion import convert as convert
from converters.create import create_model as create_model
from converters.verification import verify as verify
