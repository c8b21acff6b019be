"""Reads, analyses and writes container images; knows no toolchain."""
