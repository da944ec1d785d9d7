"""Finding personal data: the detector, Presidio's recognizers and ours, names, addresses, numbers with check digits."""
