"""Recipes that combine the public API and define nothing themselves: copy one and change it."""
