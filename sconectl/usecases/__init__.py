"""The middle: what sconectl does, each from its inputs to its result, through the interfaces in `ports.py`."""
