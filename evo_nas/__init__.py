"""Population manager, search, lineage and command line."""

__version__ = "0.1.0"
