"""Persistence: the actor that alone touches a store, the store's contract, and the stores."""
