"""Finding attention: `calls` of it in the work table, their `sizes` from recorded inputs, and their `kinds`."""
