"""Labels of stars read off their latents: fitted to stars of known labels, applied to the rest."""
