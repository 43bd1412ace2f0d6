"""The documents; a package, since gwcs (of specutils) installs another one of this name."""
