"""Who attacks a CAS, with what, and who measures it: the parts of `hostile_clients.py`."""
