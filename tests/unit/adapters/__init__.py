"""Tests of the adapters against small real stand-ins: files, and HTTP servers on this machine."""
