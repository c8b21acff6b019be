"""Tests of stage 2: models and facts to plans."""
