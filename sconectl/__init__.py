"""sconectl: a declarative manifest compiler for confidential computing."""

__version__ = "0.1.0"
