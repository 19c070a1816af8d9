"""Writing a trace again for other tools, with what was found in it."""
