"""The control battery: what would score as well as the readings, each control with the doubt that it rules out."""
