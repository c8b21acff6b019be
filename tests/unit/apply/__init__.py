"""Tests of stage 4: effects through ports."""
