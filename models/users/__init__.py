"""User encoders: history and profile to a user's vectors, one module for each kind."""
