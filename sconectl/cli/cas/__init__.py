"""The commands `sconectl cas …`."""
