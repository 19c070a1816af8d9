"""Tables, pages and files: data in, document out. One format, one file."""
