"""Reading a derived catalogue: by position, by source_id, by SQL; as tables, files and spectra."""
