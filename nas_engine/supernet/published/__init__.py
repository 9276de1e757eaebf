"""Checkpoints that the papers' authors published, read without running anything in them."""
