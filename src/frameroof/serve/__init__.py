"""The live page: a stream in a browser, its latencies beside it, prompts switched while it plays.

``app`` makes the web application of a source of video, ``server`` runs it, ``engine`` is the source that generates.
"""
