"""The command line: one file a noun, each command a few lines over the public API."""
