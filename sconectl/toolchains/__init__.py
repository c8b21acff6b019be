"""Toolchains turn a native root file system into a protected one and say how it is measured and started."""
