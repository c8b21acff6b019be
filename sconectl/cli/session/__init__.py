"""The commands `sconectl session …`."""
