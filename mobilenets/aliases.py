"""Names of `converters`, so one import is enough.

Imported on first use only: the networks and the table need no converter.
"""

from converters.conversion import convert as convert
from converters.create import create_model as create_model
from converters.verification import verify as verify
