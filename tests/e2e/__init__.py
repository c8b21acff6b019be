"""Tests that do what a user does: the installed command, a real container engine, real servers."""
