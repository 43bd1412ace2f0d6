"""Science figures of merit: how well a trained model predicts spectra, what its latents hold, and
what they say about stars.
"""
