"""Stops system calls of the program before they run, and looks at what they are about."""
