"""One TOML file that says where data lie, which cluster works, and the defaults of every command.

`xpscale.settings.file.load_settings` reads it; `xpscale.cli.settings_file` gives its values to the
commands; `xpscale.clusters` starts the cluster that it describes.
"""
