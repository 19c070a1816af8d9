"""Predicted beside published: which rows there are, what each ran, and how far off the expected times are."""
