"""What every package shares: the model, errors, settings and the seams to the outside world."""
