"""frameroof."""
