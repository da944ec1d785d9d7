"""What stands in place of personal data: placeholders, tokens, surrogates, masks, shifted dates, coarser values."""
