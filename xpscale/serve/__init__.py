"""The field's protocols over a catalogue: Simple Cone Search and TAP, read only."""
