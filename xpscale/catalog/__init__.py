"""The derived catalogue: parts, manifests, snapshots, and what HATS readers need."""
