"""Science figures of merit: how well a trained model predicts spectra, what its latents hold, what
they tell of stars.
"""
