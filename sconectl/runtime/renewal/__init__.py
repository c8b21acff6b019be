"""Renews the files of a program that runs, when the CAS has renewed the certificates in them."""
