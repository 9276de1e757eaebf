"""Worlds that searches are compared in: real tables, surrogates of real tables, and generated families.

A world is a dozen lines: see `generated.py`, and `registry.py` for how it gets its name.
"""
