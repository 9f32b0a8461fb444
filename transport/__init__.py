"""How envelopes travel: one contract, several carriers."""
