"""What is true of a token, what the activation holds of it, and the claims that an explanation makes."""
