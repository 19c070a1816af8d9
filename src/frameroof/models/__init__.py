"""Runnable models, one family a file: builders over diffusers and transformers, and our own."""
