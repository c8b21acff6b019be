"""Tests of stage 3: plans to the bytes of files."""
