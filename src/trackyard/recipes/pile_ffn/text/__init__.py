"""Text of the study: brought, chosen, tokenised once, read again."""
